import { closeSync, fsyncSync, openSync, writeSync } from 'node:fs';
import type { ExchangePayload, ExchangeRow, Place } from '../core/exchange.ts';
import type { HeaderPair } from '../core/headers.ts';
import type { KeyedHash } from '../core/keyed-hash.ts';
import { TextCounts } from '../core/text.ts';

/** A request as a replay would send it. Texts are latin1. */
export interface ExportedRequest {
  readonly method: string;
  /** Request target, with the target's base path in front. */
  readonly path: string;
  /**
   * Flat name, value, name, value …; without framing headers, hop-by-hop headers, and a `Host` that was not recorded.
   */
  readonly headers: readonly string[];
  readonly body: Uint8Array | null;
  readonly chunked: boolean;
  /** The values that only answers can give; null or absent for none. */
  readonly live?: {
    readonly session: number;
    readonly issues: readonly Place[];
    readonly users: number;
    readonly takes: readonly { readonly from: number; readonly at: number; readonly to: Place }[];
    readonly echoes: readonly string[];
  } | null;
}

export interface ExportedSend {
  /** From 0, consecutive. */
  readonly index: number;
  /** Nanoseconds after the start of the run; never decreasing. */
  readonly offsetNs: number;
  /** The same as an instant, epoch microseconds. The start is the arrival of the first planned exchange. */
  readonly instantUs: number;
  readonly row: ExchangeRow;
  /** 0 for the recorded exchange, else the number of its copy. Null if the format does not need it. */
  readonly copy: number | null;
  /** Null for a table row that cannot be sent. */
  readonly request: ExportedRequest | null;
  /** Why a table row cannot be sent. */
  readonly skipped: string | null;
  /** Opens the recorded payload on demand. */
  readonly recorded: () => ExchangePayload | null;
}

export interface ExportSettings {
  readonly creator: { readonly name: string; readonly version: string };
  /** Scheme and authority of the requests; null if none was given. */
  readonly origin: string | null;
  /** How k6 paces. */
  readonly mode: ExportMode;
  /** Whether tables include request bodies. */
  readonly includeBodies: boolean;
  readonly objectives: ExportedObjectives | null;
  /** How prompts become `hash_ids`; null for payloads. */
  readonly promptBlocks: PromptBlocks | null;
  readonly account: ExportedAccount;
}

/** Facts about the recording that the rows of a dataset cannot contain. */
export interface ExportedAccount {
  readonly schemaVersion: 1;
  readonly kind: 'dataset-account';
  readonly capture: string;
  readonly recorders: readonly string[];
  /** ISO 8601, UTC; the last instant of the window in `to`. */
  readonly from: string;
  readonly to: string;
  readonly filters: readonly string[];
  /** Recorders in the fleet, if configured. Coverage then counts missing recorders too. */
  readonly fleetSize: number | null;
  /** Recorded share of the exchanges seen in the window; null if unknown. */
  readonly coverage: number | null;
  readonly coverageUnexplained: number | null;
  /** For the whole capture, as in a profile. */
  readonly losses: {
    readonly exchanges: number;
    readonly bytes: number;
    readonly exact: boolean;
    readonly by: object;
  };
  readonly omitted: { readonly exchanges: number; readonly bytes: number; readonly by: object };
}

/** How prompts are split into blocks, and the key that blocks are hashed with. */
export interface PromptBlocks {
  readonly tokens: number;
  readonly hash: KeyedHash;
}

/** An objective on a metric with tags, such as p(95)<300 for requests with the tag model:gpt. */
export interface ExportedObjective {
  readonly metric: string;
  readonly condition: string;
  readonly tags: readonly (readonly [tag: string, value: string])[];
  /** A tag: the objective applies to each of its values. Null for none. */
  readonly each: string | null;
}

export interface ExportedObjectives {
  readonly objectives: readonly ExportedObjective[];
  /** Objectives that the tool cannot express, and why. */
  readonly cannotCarry: readonly string[];
  /** The value of a request's tag; null where it has none. */
  readonly tagValueOf: (send: ExportedSend, tag: string) => string | null;
}

export const EXPORT_MODES = ['exact', 'rate'] as const;
type ExportMode = (typeof EXPORT_MODES)[number];

/** Facts known after all sends. */
export interface ExportFacts {
  readonly requests: number;
  readonly spanNs: number;
  /** Requests open at once if each takes as long as recorded; null if unknown. */
  readonly concurrency: number | null;
}

export interface ExportedFile {
  /** Null for an export that is one file. */
  readonly name: string | null;
  readonly bytes: number;
}

/** Options that only some formats know. */
export const TAKEN_OPTIONS = {
  target: '--target',
  pacing: '--pacing',
  includeBodies: '--include-bodies',
  partition: '--partition',
  slo: '--slo',
  omitPayloads: '--omit-payloads',
  blockTokens: '--block-tokens',
  hashKeyFile: '--hash-key-file',
} as const;
type TakenOption = keyof typeof TAKEN_OPTIONS;

export interface ExportFormat {
  readonly name: string;
  readonly summary: string;
  /** One file, or a directory of files. */
  readonly shape: 'file' | 'directory';
  /** `requests`: only those that can be sent. `rows`: a table of the whole plan. */
  readonly holds: 'requests' | 'rows';
  /** The options that this format accepts. */
  readonly takes: readonly TakenOption[];
  readonly needsTarget: boolean;
  /** Set if its program takes values from answers. Others send the recorded ones. */
  readonly correlates?: true;
  /** Set if it has a place for gRPC calls. Tools that send HTTP/1.1 would send something else. */
  readonly holdsCalls?: true;
  /** What files of this format can never contain. */
  readonly cannotCarry: readonly string[];
  /** @param path the new file, or the directory for its files */
  open(path: string, settings: ExportSettings): ExportWriter;
}

/** Buffer size for writing. */
const BUFFER_BYTES = 256 * 1024;

/** A new file (0600), written at once. An existing file is never changed. */
export class OutputFile {
  readonly #descriptor: number;
  readonly #pending: Uint8Array[] = [];
  #pendingBytes = 0;
  #written = 0;
  #open = true;

  /** @throws file system errors; EEXIST if the path exists */
  constructor(path: string) {
    this.#descriptor = openSync(path, 'wx', 0o600);
  }

  /** Bytes written so far. */
  get bytes(): number {
    return this.#written + this.#pendingBytes;
  }

  write(piece: string | Uint8Array): void {
    const bytes = typeof piece === 'string' ? Buffer.from(piece) : piece;
    this.#pending.push(bytes);
    this.#pendingBytes += bytes.length;
    if (this.#pendingBytes >= BUFFER_BYTES) this.#flush();
  }

  /** Writes the rest and syncs the file. Does nothing if it is closed. */
  end(): void {
    if (!this.#open) return;
    this.#flush();
    fsyncSync(this.#descriptor);
    this.abandon();
  }

  /** Closes an incomplete file. */
  abandon(): void {
    if (this.#open) closeSync(this.#descriptor);
    this.#open = false;
  }

  #flush(): void {
    const whole = Buffer.concat(this.#pending);
    this.#pending.length = 0;
    this.#pendingBytes = 0;
    for (let at = 0; at < whole.length; ) at += writeSync(this.#descriptor, whole, at);
    this.#written += whole.length;
  }
}

/** Writes one export, once: sends in order, then `end`. Call `abandon` if it fails. */
export abstract class ExportWriter {
  /** What could not be exported: number of affected sends by kind. */
  readonly lost = new TextCounts();
  /** How to use the export; complete at its end. */
  abstract readonly usage: readonly string[];
  readonly #files: { readonly name: string | null; readonly file: OutputFile }[] = [];

  /** @returns whether the export includes it; what it leaves out is counted in `lost` */
  abstract add(send: ExportedSend): boolean;

  get files(): readonly ExportedFile[] {
    return this.#files.map(({ name, file }) => ({ name, bytes: file.bytes }));
  }

  end(facts: ExportFacts): void {
    this.finish(facts);
    for (const { file } of this.#files) file.end();
  }

  abandon(): void {
    for (const { file } of this.#files) file.abandon();
  }

  /** Opens a file of the export. @param name within its directory */
  protected open(path: string, name: string | null = null): OutputFile {
    const file = new OutputFile(path);
    this.#files.push({ name, file });
    return file;
  }

  /** Writes what follows the last send. */
  protected finish(_facts: ExportFacts): void {}
}

/** Prefix of the headers that a replay adds. */
const OURS = 'x-reprise-';

export function headerPairs(flat: readonly string[]): HeaderPair[] {
  const pairs: HeaderPair[] = [];
  for (let at = 0; at + 1 < flat.length; at += 2) pairs.push([flat[at] ?? '', flat[at + 1] ?? '']);
  return pairs;
}

/** Like `headerPairs`, without the headers that a replay adds: an archive is not sent. */
export function recordedPairs(flat: readonly string[]): HeaderPair[] {
  return headerPairs(flat).filter(([name]) => !name.toLowerCase().startsWith(OURS));
}

/** Counts losses in formats whose headers are a map of texts and whose bodies have a stated length. */
export function countRequestLosses(
  { headers, chunked }: ExportedRequest,
  lost: TextCounts,
  joined = true,
): void {
  const names = new Set(headerPairs(headers).map(([name]) => name.toLowerCase()));
  if (joined && names.size < headers.length / 2) {
    lost.count('a header that came more than once: its values are joined');
  }
  if (headers.some((text) => BEYOND_ASCII.test(text))) {
    lost.count('a header value beyond ASCII, which goes as UTF-8');
  }
  if (chunked) lost.count('a chunked body: sent with its length');
}

/** A request target with non-ASCII bytes percent-encoded, for formats with ASCII URLs. */
export function asciiTarget(path: string): string {
  return path.replace(/[\x80-\xff]/g, (byte) => `%${byte.charCodeAt(0).toString(16).toUpperCase()}`);
}

const BEYOND_ASCII = /[\x80-\xff]/;
