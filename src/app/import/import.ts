import { randomBytes } from 'node:crypto';
import { statSync } from 'node:fs';
import type { IncomingMessage } from 'node:http';
import { hostname } from 'node:os';
import { basename } from 'node:path';
import type { Clock } from '../../core/clock.ts';
import { AppError } from '../../core/errors.ts';
import { KeyedHash } from '../../core/keyed-hash.ts';
import { LIMITS } from '../../core/limits.ts';
import {
  type Asked,
  askedFor,
  type OptionShape,
  type ResolvedOptions,
  resolveOptions,
  text,
} from '../../core/options.ts';
import { TextCounts } from '../../core/text.ts';
import {
  type ArrivalTally,
  BODIES_OPTION,
  type EventSource,
  type ImportFormat,
  type ImportSource,
  type OpenImport,
  type PayloadFacts,
} from '../../formats/import-source.ts';
import { IMPORT_FORMATS } from '../../formats/index.ts';
import { InputProblem, type TextLine } from '../../formats/input.ts';
import { parseEvent } from '../../formats/kserve.ts';
import { type Endpoint, formatEndpoint, parseEndpoint } from '../../proxy/net/endpoint.ts';
import { listenOn } from '../../proxy/net/listen.ts';
import { smallServer } from '../../proxy/net/small-server.ts';
import { Redaction } from '../../redaction/head-redaction.ts';
import { whatIs } from '../../storage/capture/directory.ts';
import { loadHashKey } from '../../storage/capture/keys.ts';
import { type CaptureOrigin, noteOrigin } from '../../storage/capture/schema.ts';
import { sealSegment } from '../../storage/capture/sealing.ts';
import { CaptureWriter, type CommitResult } from '../../storage/capture/writer.ts';
import { encryptionKeyOf, encryptionKeyOption } from '../open-capture.ts';
import { StagedDirectory } from '../staged-output.ts';

const COMMON_OPTIONS = {
  out: text('-o, --out <directory>', 'directory of the new capture; must be empty or not exist', {
    required: true,
  }),
  hashKeyFile: text('--hash-key-file <file>', 'key for the hashes, one for a fleet (default: a new key)'),
  encryptionKeyFile: encryptionKeyOption('file with the key to encrypt payloads with'),
};

export type ImportName = keyof typeof IMPORT_FORMATS;

/** All options of each import format. */
export const IMPORT_OPTIONS = Object.fromEntries(
  Object.entries(IMPORT_FORMATS).map(([name, { options }]) => [name, { ...COMMON_OPTIONS, ...options }]),
) as { readonly [Name in ImportName]: typeof COMMON_OPTIONS & (typeof IMPORT_FORMATS)[Name]['options'] };

const REQUEST_OPTIONS = { ...COMMON_OPTIONS, ...BODIES_OPTION };
type ImportRequest = ResolvedOptions<typeof REQUEST_OPTIONS>;

interface ImportDeps {
  readonly clock: Clock;
  readonly signal: AbortSignal;
  /** Called at most some hundred times a second. */
  readonly onProgress?: (tally: ArrivalTally) => void;
  /** Called with the address that receives events. */
  readonly onListening?: (address: string) => void;
}

export interface ImportResult extends ArrivalTally {
  readonly capture: string;
  readonly segments: number;
  /** Bytes of the sealed segments. */
  readonly diskBytes: number;
  /** Parts that the format never contains. */
  readonly missing: readonly string[];
  /** Parts that single exchanges lack, with their numbers. */
  readonly lacking: Readonly<Record<string, number>>;
  /** The requests that were paired with arrivals; null without any. */
  readonly payloads: PayloadFacts | null;
}

/**
 * Builds a capture from files of another tool, complete or not at all.
 * @param files one file; none if the format receives events over HTTP, several only for `otlp`
 * @throws AppError for bad options, input or output, the signal's reason when it aborts; then nothing is left behind
 */
export async function importTraffic(
  name: ImportName,
  files: readonly string[],
  asked: Asked<OptionShape>,
  deps: ImportDeps,
): Promise<ImportResult> {
  const request = resolveOptions(REQUEST_OPTIONS, askedFor(REQUEST_OPTIONS, asked));
  for (const file of files) assertNoDirectory(file);
  const format: ImportFormat = IMPORT_FORMATS[name];
  const open = format.open(files, askedFor(format.options, asked), (address, durationMs) => {
    const endpoint = parseEndpoint(address, '--listen', { anyPort: true });
    return new EventSink({ endpoint, durationMs, onListening: deps.onListening });
  });
  const staged = new StagedDirectory(request.out, 'importing');
  try {
    const result = await fill(
      staged.path,
      files.map((file) => basename(file)).join(', ') || 'events',
      request,
      open,
      deps,
    );
    staged.publish();
    return result;
  } catch (thrown) {
    staged.discard();
    throw thrown;
  }
}

/** @throws AppError INPUT_INVALID for a directory */
function assertNoDirectory(file: string): void {
  if (!statSync(file, { throwIfNoEntry: false })?.isDirectory()) return;
  const known = whatIs(file);
  throw new AppError(
    'INPUT_INVALID',
    `${file} is a directory, not a file: ${known?.what ?? 'not of Reprise'}`,
    {
      hint: known?.hint ?? 'Give the file itself.',
    },
  );
}

async function fill(
  directory: string,
  file: string,
  request: ImportRequest,
  open: OpenImport,
  deps: ImportDeps,
): Promise<ImportResult> {
  const encryption = encryptionKeyOf(request);
  const hash = new KeyedHash(loadHashKey(directory, request.hashKeyFile, encryption));
  const redaction = new Redaction();
  const source = await open({ hash, redaction, bodies: request.bodies }, deps.signal);
  const finished: string[] = [];
  const writer = new CaptureWriter(
    {
      directory,
      recorder: { id: randomBytes(4).toString('hex'), host: hostname(), startedUs: deps.clock.epochUs() },
      origin: originOf(file, source),
      policy: { bodies: request.bodies, redaction: redaction.additions },
      hashKeyFingerprint: hash.fingerprint(),
      encryption,
      fleetSize: null,
      account: null,
      maxDiskBytes: Number.MAX_SAFE_INTEGER,
      retainMs: null,
      segmentBy: 'arrival',
      durability: 'seal',
      onFinished: (file) => finished.push(file),
    },
    deps.clock,
  );
  try {
    for await (const exchanges of source.batches(deps.signal)) {
      for (const exchange of exchanges) {
        writer.append(exchange);
        if (writer.due(deps.clock.nowNs())) insistOn(writer.commit(), request.out);
      }
      deps.onProgress?.(source.tally);
    }
  } catch (thrown) {
    writer.close();
    throw thrown;
  }
  insistOn(writer.close(), request.out);
  let [exchanges, diskBytes] = [0, 0];
  for (const segment of finished) {
    // Only now it is known which parts single exchanges lack.
    if (Object.keys(source.lacking).length > 0) noteOrigin(segment, originOf(file, source));
    exchanges += sealSegment(segment, deps.clock).exchanges;
    diskBytes += statSync(segment).size;
  }
  const { tally } = source;
  if (exchanges !== tally.rows) {
    throw new AppError('INTERNAL', `${tally.rows} rows were read, ${exchanges} exchanges were kept`);
  }
  const { missing, payloads = null } = source.parts;
  return {
    ...tally,
    capture: request.out,
    segments: finished.length,
    diskBytes,
    missing,
    lacking: source.lacking,
    payloads,
  };
}

/** The sources of the capture's parts, for later readers. */
function originOf(file: string, { parts, lacking }: ImportSource): CaptureOrigin {
  const { requests, details, missing } = parts;
  return {
    kind: 'imported',
    file,
    paired: requests,
    details: { ...details, missing, ...(Object.keys(lacking).length === 0 ? {} : { lacking }) },
  };
}

/** A recorder continues after a write error, but an import must be complete. */
function insistOn(result: CommitResult, out: string): void {
  if (result.lost.length === 0) return;
  throw new AppError('OUTPUT_UNWRITABLE', `${out} cannot be written: ${result.error ?? result.reason}`, {
    hint: 'Nothing was kept. Free some space or choose another disk, then import again.',
  });
}

/** Most bytes of all events that are being received or waiting. */
const MOST_HELD_BYTES = 64 * 1024 * 1024;
const MOST_EVENT_BYTES = 16 * 1024 * 1024;
/** A large event may take a while. */
const REQUEST_MS = 30_000;

const NO_ROOM = 'an event that came faster than it could be written: refused';
const TOO_LONG = `an event of more than ${MOST_EVENT_BYTES} bytes: refused`;
const UNREADABLE = 'an event that cannot be read: refused';

interface EventSinkOptions {
  readonly endpoint: Endpoint;
  readonly durationMs: number;
  readonly onListening?: ((address: string) => void) | undefined;
}

/**
 * Receives CloudEvents over HTTP for a time, in binary mode (attributes in `ce-` headers) or structured mode (one JSON
 * object). A sender is answered at once. It gets 503 if events arrive faster than they are written. It gets 413 if its
 * event is too long, and 400 if it is no event.
 * @see https://github.com/cloudevents/spec/blob/main/cloudevents/bindings/http-protocol-binding.md
 */
export class EventSink implements EventSource {
  readonly #options: EventSinkOptions;
  readonly refused = new TextCounts();
  #lines: TextLine[] = [];
  #heldBytes = 0;
  #events = 0;
  #wake = (): void => undefined;

  constructor(options: EventSinkOptions) {
    this.#options = options;
  }

  /** @throws AppError LISTEN_FAILED; the signal's reason when it aborts */
  async *lines(signal: AbortSignal): AsyncGenerator<readonly TextLine[]> {
    const { endpoint, durationMs, onListening } = this.#options;
    const server = smallServer({
      connections: LIMITS.probeConnections,
      callers: 'programs',
      requestMs: REQUEST_MS,
      takesBodies: true,
      answer: async (request) => {
        const status = await this.#take(request).catch(() => 400);
        return { status, type: 'text/plain; charset=utf-8', body: '' };
      },
    });
    const listening = await listenOn(server, endpoint);
    const ended = AbortSignal.any([signal, AbortSignal.timeout(durationMs)]);
    ended.addEventListener('abort', () => this.#wake(), { once: true });
    try {
      onListening?.(formatEndpoint(listening.endpoint));
      while (!ended.aborted || this.#lines.length > 0) {
        signal.throwIfAborted();
        const lines = this.#lines;
        this.#lines = [];
        if (lines.length > 0) yield lines;
        else await this.#next(ended);
        for (const { bytes } of lines) this.#heldBytes -= bytes.length;
      }
      signal.throwIfAborted();
    } finally {
      listening.remove();
      server.close();
      server.closeAllConnections();
    }
  }

  async #next(ended: AbortSignal): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#wake = resolve;
      if (ended.aborted || this.#lines.length > 0) resolve();
    });
  }

  /** @returns the status of the answer */
  async #take(request: IncomingMessage): Promise<number> {
    if (request.method !== 'POST') return 405;
    let received = 0;
    try {
      const chunks: Buffer[] = [];
      for await (const chunk of request.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
        received += chunk.length;
        this.#heldBytes += chunk.length;
        if (received > MOST_EVENT_BYTES) return this.#refuse(413, TOO_LONG);
        if (this.#heldBytes > MOST_HELD_BYTES) return this.#refuse(503, NO_ROOM);
        chunks.push(chunk);
      }
      const bytes = eventOf(request, Buffer.concat(chunks));
      if (bytes === null) return 415;
      if (this.#heldBytes - received + bytes.length > MOST_HELD_BYTES) return this.#refuse(503, NO_ROOM);
      const line = { number: this.#events + 1, bytes };
      if (!isEvent(line)) return this.#refuse(400, UNREADABLE);
      this.#events += 1;
      this.#lines.push(line);
      this.#heldBytes += bytes.length;
      this.#wake();
      return 200;
    } finally {
      this.#heldBytes -= received;
    }
  }

  #refuse(status: number, reason: string): number {
    this.refused.count(reason);
    return status;
  }
}

function isEvent(line: TextLine): boolean {
  try {
    parseEvent(line);
    return true;
  } catch (thrown) {
    if (thrown instanceof InputProblem) return false;
    throw thrown;
  }
}

/** The event in structured form; null if the message is no event. */
function eventOf({ headers }: IncomingMessage, body: Buffer): Buffer | null {
  if (/^application\/cloudevents\+json\b/i.test(headers['content-type'] ?? '')) return body;
  if (headers['ce-id'] === undefined || headers['ce-type'] === undefined) return null;
  const attributes = Object.entries(headers).flatMap(([name, value]) =>
    name.startsWith('ce-') ? [[name.slice(3), String(value)]] : [],
  );
  const type = headers['content-type'];
  return Buffer.from(
    JSON.stringify({
      ...Object.fromEntries(attributes),
      ...(type === undefined ? {} : { datacontenttype: type }),
      data_base64: body.toString('base64'),
    }),
  );
}
