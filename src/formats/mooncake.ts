import type { ExportedFile, ExportedSend, ExportFormat, ExportWriter } from './export-writer.ts';
import type { OpenImport } from './import-source.ts';
import { ImportedFile } from './imported-file.ts';
import { shownJsonText } from './inert-text.ts';
import { textBytes } from './input-bytes.ts';
import { InputProblem, NOTHING_IN_IT } from './input-problem.ts';
import { parseJsonLine } from './json-line.ts';
import { kindOf, MooncakeReader, type MooncakeReading } from './mooncake-reader.ts';
import { OutputFile } from './output-file.ts';
import { TextCounts } from './text-counts.ts';
import { type TextLine, textLines } from './text-lines.ts';

/** `mooncake_trace` rows with verbatim payloads, which AIPerf replays at their times. */
export const MOONCAKE: ExportFormat = {
  name: 'mooncake',
  summary: 'a Mooncake trace with verbatim payloads, which AIPerf replays',
  shape: 'file',
  holds: 'requests',
  takes: [],
  needsTarget: false,
  cannotCarry: [
    'method, path, query and headers: who replays it names one endpoint',
    'bodies that are no JSON object: such requests are left out',
    'sessions: turns of one would wait for each other, which is no longer an open loop',
    'responses',
  ],
  open: (path) => new MooncakeWriter(path),
};

class MooncakeWriter implements ExportWriter {
  readonly lost = new TextCounts();
  readonly usage = [
    'aiperf profile --model MODEL --url URL --endpoint-type chat --input-file FILE --custom-dataset-type mooncake_trace --fixed-schedule',
  ];
  readonly #file: OutputFile;
  readonly #utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
  readonly #routes = new Set<string | null>();

  constructor(path: string) {
    this.#file = new OutputFile(path);
  }

  get files(): readonly ExportedFile[] {
    return [{ name: null, bytes: this.#file.bytes }];
  }

  add(send: ExportedSend): boolean {
    const body = send.request?.body ?? null;
    const payload = body === null ? null : this.#payloadOf(body);
    if (payload === null) {
      this.lost.count('no body that is a JSON object with something in it: left out');
      return false;
    }
    this.#file.write(`{"timestamp": ${send.offsetNs / 1e6}, "payload": ${payload}}\n`);
    if (this.#routes.size > 0 && !this.#routes.has(send.row.route)) {
      this.lost.count('another route than the first: the trace names none');
    } else {
      this.#routes.add(send.row.route);
    }
    return true;
  }

  end(): void {
    this.#file.end();
  }

  abandon(): void {
    this.#file.abandon();
  }

  /** The object as it was recorded, digits and order of keys included, on one line. */
  #payloadOf(body: Uint8Array): string | null {
    let text: string;
    try {
      text = this.#utf8.decode(body);
      const value: unknown = JSON.parse(text);
      if (typeof value !== 'object' || value === null || Array.isArray(value)) return null;
      if (Object.keys(value).length === 0) return null;
    } catch {
      // No UTF-8 or no JSON: told by the count of those left out.
      return null;
    }
    // Line ends stand between the tokens of JSON only, where a space means the same. Markup stays: it is no page.
    return shownJsonText(text.replace(/[\r\n]/g, ' '));
  }
}

/** What a trace never says. */
const MISSING_FROM_MOONCAKE = [
  'responses',
  'statuses',
  'latencies',
  'outcomes',
  'connections',
  'clients',
  'headers',
] as const;

/**
 * Reads a Mooncake trace. Its first row says what it holds: whole bodies, which can be replayed, or lengths alone,
 * which can be profiled and planned.
 */
export function openMooncake(path: string, reading: MooncakeReading): OpenImport {
  return async (deps, signal) => {
    const rows = textLines(textBytes(path, signal));
    try {
      const first = await rows.next();
      const [line] = first.done === true ? [] : first.value;
      if (line === undefined) throw new InputProblem('holds no row', { hint: NOTHING_IN_IT });
      const kind = kindOf(parseJsonLine(line));
      const reader = new MooncakeReader(reading, kind, deps);
      return new ImportedFile({
        path,
        requests: kind === 'payload',
        missing:
          kind === 'payload'
            ? [...MISSING_FROM_MOONCAKE, 'methods and paths: those that were given']
            : [...MISSING_FROM_MOONCAKE, 'requests', 'methods and paths'],
        details: { format: 'mooncake', ...reading },
        lacking: reader.lacking,
        read: async function* () {
          yield (first.value as TextLine[]).map((each) => reader.read(each));
          for await (const lines of rows) yield lines.map((each) => reader.read(each));
        },
      });
    } catch (thrown) {
      throw thrown instanceof InputProblem ? thrown.toAppError(path) : thrown;
    }
  };
}
