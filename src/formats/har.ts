import type { Exchange } from '../core/exchange.ts';
import type { ExportFormat } from './export-writer.ts';
import { HarReader } from './har-reader.ts';
import { HarWriter } from './har-writer.ts';
import type { ImportSourceDeps, OpenImport } from './import-source.ts';
import { importedExchange } from './imported-exchange.ts';
import { ImportedFile, placed } from './imported-file.ts';
import { textBytes } from './input-bytes.ts';
import { jsonItems } from './json-items.ts';
import { parseJsonLine } from './json-line.ts';

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

/** What an archive never says. */
const MISSING_FROM_HAR = [
  'connections',
  'clients',
  'sessions',
  'the times of chunks',
  'trailers',
  'the content coding of responses',
  'losses and coverage: nobody knows what the client did beside',
] as const;

/** Reads an archive: its latencies are those the client saw, waiting for a connection included. */
export function openHar(path: string): OpenImport {
  return async (deps) => {
    const reader = new HarReader();
    return new ImportedFile({
      path,
      requests: true,
      missing: MISSING_FROM_HAR,
      details: { format: 'har', latencies: 'of the client, from the start of its entry' },
      lacking: reader.lacking,
      read: (signal) => harExchanges(path, reader, deps, signal),
    });
  };
}

async function* harExchanges(
  path: string,
  reader: HarReader,
  deps: ImportSourceDeps,
  signal: AbortSignal,
): AsyncGenerator<Exchange[]> {
  const onOther = () => reader.lacking.count('an entry that is no object: left out');
  for await (const items of jsonItems(textBytes(path, signal), ['log', 'entries'], onOther)) {
    const exchanges: Exchange[] = [];
    for (const { number, bytes } of items) {
      try {
        const parts = reader.read(parseJsonLine({ number: 0, bytes }));
        if (parts !== null) exchanges.push(importedExchange(parts, deps));
      } catch (thrown) {
        throw placed(`entry ${number}`, thrown);
      }
    }
    yield exchanges;
  }
}
