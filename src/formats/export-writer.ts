import { closeSync, fsyncSync, openSync, writeSync } from 'node:fs';
import type { ExchangePayload, ExchangeRow } from '../core/exchange.ts';
import type { HeaderPair } from '../core/headers.ts';
import { inertJson, shownText, type TextCounts } from '../core/text.ts';

/** A request as a replay would send it. Texts are latin1. */
export interface ExportedRequest {
  readonly method: string;
  /** Request target, the base path of the target in front. */
  readonly path: string;
  /** Flat name, value, name, value …; no framing, no hop-by-hop names, no `Host` but a recorded one. */
  readonly headers: readonly string[];
  readonly body: Uint8Array | null;
  readonly chunked: boolean;
}

/** A planned send. */
export interface ExportedSend {
  /** From 0, without a gap. */
  readonly index: number;
  /** Nanoseconds after the start of the run; never decreasing. */
  readonly offsetNs: number;
  /** The same as an instant: the start is when the first planned exchange arrived. Epoch microseconds. */
  readonly instantUs: number;
  readonly row: ExchangeRow;
  /** 0 for what was recorded, else the number of its copy. Null where the format does not ask for it. */
  readonly copy: number | null;
  /** Null for a row of a table that cannot be sent. */
  readonly request: ExportedRequest | null;
  /** Why a row of a table cannot be sent. */
  readonly skipped: string | null;
  /** What was recorded, opened when it is asked for. */
  readonly recorded: () => ExchangePayload | null;
}

/** What an exporter is told before the first send. */
export interface ExportSettings {
  /** Name and version of this program. */
  readonly creator: { readonly name: string; readonly version: string };
  /** Scheme and authority requests go to; null where none was given. */
  readonly origin: string | null;
  /** How k6 paces. */
  readonly mode: ExportMode;
  /** Whether tables get the bodies of requests. */
  readonly includeBodies: boolean;
}

export const EXPORT_MODES = ['exact', 'rate'] as const;
type ExportMode = (typeof EXPORT_MODES)[number];

/** What is known once every send was told of. */
export interface ExportFacts {
  /** That the export holds. */
  readonly requests: number;
  readonly spanNs: number;
  /** Requests open at once if each takes as long as it did when recorded; null where that is not known. */
  readonly concurrency: number | null;
}

/** Writes one export. Used once: sends in order, then `end`; `abandon` when it comes to nothing. */
export interface ExportWriter {
  /** @returns whether the export holds it; what it leaves out is counted in `lost` */
  add(send: ExportedSend): boolean;
  end(facts: ExportFacts): void;
  abandon(): void;
  /** What could not be carried, by what it is, how many sends it concerns. */
  readonly lost: TextCounts;
  readonly files: readonly ExportedFile[];
  /** How to use it, once it is written. */
  readonly usage: readonly string[];
}

export interface ExportedFile {
  /** Null for an export that is one file. */
  readonly name: string | null;
  readonly bytes: number;
}

/** One format that captures are turned into. */
export interface ExportFormat {
  readonly name: string;
  readonly summary: string;
  /** One file, or a directory of files with names of ours. */
  readonly shape: 'file' | 'directory';
  /** Requests that can be sent, or a table of all that is planned. */
  readonly holds: 'requests' | 'rows';
  /** The options that mean something to it. */
  readonly takes: readonly ('target' | 'mode' | 'includeBodies')[];
  readonly needsTarget: boolean;
  /** What no file of this format says, whatever is put in. */
  readonly cannotCarry: readonly string[];
  /** @param path the new file, or a directory to make files in */
  open(path: string, settings: ExportSettings): ExportWriter;
}

/** Bytes gathered before they are written. */
const BUFFER_BYTES = 256 * 1024;

/** A new file (0600) that is filled in one go; what is there already is never written to. */
export class OutputFile {
  readonly #descriptor: number;
  readonly #pending: Uint8Array[] = [];
  #pendingBytes = 0;
  #written = 0;
  #open = true;

  /** @throws what the file system throws; EEXIST where something is there */
  constructor(path: string) {
    this.#descriptor = openSync(path, 'wx', 0o600);
  }

  /** Bytes taken so far. */
  get bytes(): number {
    return this.#written + this.#pendingBytes;
  }

  write(piece: string | Uint8Array): void {
    const bytes = typeof piece === 'string' ? Buffer.from(piece) : piece;
    this.#pending.push(bytes);
    this.#pendingBytes += bytes.length;
    if (this.#pendingBytes >= BUFFER_BYTES) this.#flush();
  }

  /** Writes what is left and makes it durable. */
  end(): void {
    this.#flush();
    fsyncSync(this.#descriptor);
    this.abandon();
  }

  /** Lets go of the file, however much of it was written. */
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

/** What a replay puts on its requests begins so. */
const OURS = 'x-reprise-';

/** Header pairs of a flat list. */
export function headerPairs(flat: readonly string[]): HeaderPair[] {
  const pairs: HeaderPair[] = [];
  for (let at = 0; at + 1 < flat.length; at += 2) pairs.push([flat[at] ?? '', flat[at + 1] ?? '']);
  return pairs;
}

/** The same without what marks a replay: for archives, which nobody sends. */
export function recordedPairs(flat: readonly string[]): HeaderPair[] {
  return headerPairs(flat).filter(([name]) => !name.toLowerCase().startsWith(OURS));
}

/** Counts what becomes of headers where they are a map of texts. */
export function countHeaderLosses(flat: readonly string[], lost: TextCounts, joined = true): void {
  const names = new Set<string>();
  for (let at = 0; at < flat.length; at += 2) names.add((flat[at] ?? '').toLowerCase());
  if (joined && names.size < flat.length / 2) {
    lost.count('a header that came more than once: its values are joined');
  }
  if (flat.some((text) => BEYOND_ASCII.test(text))) {
    lost.count('a header value beyond ASCII, which goes as UTF-8');
  }
}

/** A request target where URLs are ASCII: the same bytes, percent-encoded. */
export function asciiTarget(path: string): string {
  return path.replace(/[\x80-\xff]/g, (byte) => `%${byte.charCodeAt(0).toString(16).toUpperCase()}`);
}

const BEYOND_ASCII = /[\x80-\xff]/;

/** Name of the data file beside a script. */
export const REQUESTS_FILE = 'requests.jsonl';

/**
 * One request a line, for scripts of ours that other tools run: number, milliseconds after the start, method, target,
 * header pairs, body as base64 (null without one), route.
 */
export function requestLine(send: ExportedSend, request: ExportedRequest): string {
  return `${inertJson({
    i: send.index,
    t: send.offsetNs / 1e6,
    m: request.method,
    p: asciiTarget(request.path),
    h: headerPairs(request.headers),
    b: request.body === null ? null : Buffer.from(request.body).toString('base64'),
    // A name in the tool's statistics, which it prints.
    r: shownText(send.row.route ?? request.method),
  })}\n`;
}
