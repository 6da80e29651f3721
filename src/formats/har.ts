import type { ExportFormat } from './export-writer.ts';
import { HarWriter } from './har-writer.ts';

/** HTTP archives, which browsers, proxies and API clients read and write. */
export const HAR: ExportFormat = {
  name: 'har',
  summary: 'an HTTP archive (HAR 1.2) with the recorded responses',
  shape: 'file',
  holds: 'requests',
  takes: ['target'],
  needsTarget: false,
  cannotCarry: [
    'times finer than other readers keep: milliseconds',
    'binary request bodies: the standard has no base64 for them, so they carry a mark of ours',
    'hop-by-hop headers and headers whose value was masked',
    'the times of chunks, trailers, and which connection a request came on',
  ],
  open: (path, settings) => new HarWriter(path, settings),
};
