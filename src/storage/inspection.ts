import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { LOSS_REASONS, type LossReason, OMISSION_CAUSES, type OmissionCause } from '../core/accounting.ts';
import { AppError } from '../core/errors.ts';
import { formatInstantUs } from '../core/units.ts';
import { type SegmentFile, segmentsOf } from './capture-directory.ts';
import type { CaptureOrigin } from './capture-origin.ts';
import { manifestOfWhole } from './manifest.ts';
import { DAMAGED_SUFFIX, SIDE_SUFFIXES } from './segment-name.ts';
import { SegmentReader } from './segment-reader.ts';
import { type SegmentSummary, summaryOf } from './segment-summary.ts';
import type { ExpiredSums } from './side-records.ts';

/** What `inspect` says of a capture. Bytes of exchanges are those of bodies, after transfer decoding. */
export interface InspectDocument {
  readonly schemaVersion: 1;
  readonly directory: string;
  readonly exchanges: number;
  /** ISO 8601, UTC; null for a capture without exchanges. */
  readonly firstArrival: string | null;
  readonly lastArrival: string | null;
  /** `disk` counts every file of the directory. */
  readonly bytes: { readonly request: number; readonly response: number; readonly disk: number };
  readonly outcomes: Readonly<Record<string, number>>;
  readonly truncated: { readonly requests: number; readonly responses: number };
  readonly losses: {
    readonly exchanges: number;
    /** Bytes of the wire where they were never parsed. */
    readonly bytes: number;
    readonly byReason: Readonly<Partial<Record<LossReason, { exchanges: number; bytes: number }>>>;
  };
  readonly omitted: {
    readonly exchanges: number;
    readonly bytes: number;
    readonly byCause: Readonly<Partial<Record<OmissionCause, { exchanges: number; bytes: number }>>>;
  };
  /** recorded ÷ (recorded + lost + sampled out), in exchanges; null where nothing passed. */
  readonly coverage: number | null;
  readonly protocols: Readonly<Record<string, { connections: number; bytes: number }>>;
  readonly days: readonly { readonly day: string; readonly exchanges: number; readonly bytes: number }[];
  readonly segments: readonly {
    readonly file: string;
    readonly sealed: boolean;
    readonly exchanges: number;
    /** On disk, with the write-ahead log of an open one. */
    readonly bytes: number;
  }[];
  readonly expired: { readonly segments: number; readonly exchanges: number; readonly bytes: number };
  /** Segments that failed their check and were set aside. They are kept, and not read. */
  readonly damaged: readonly string[];
  readonly recorders: readonly { readonly id: string; readonly host: string; readonly segments: number }[];
  /** Recorders the fleet has, where somebody said so. */
  readonly fleetSize: number | null;
  readonly origins: readonly CaptureOrigin[];
  readonly clockAnchors: number;
}

/**
 * Sums up a capture from what its segments say of themselves; no exchange is read.
 * @param captureDirectory as `resolveCaptureDirectory(…, 'read')` gave it
 * @throws AppError CAPTURE_DAMAGED or SCHEMA_TOO_NEW, naming the segment.
 */
export function inspectCapture(captureDirectory: string): InspectDocument {
  const inspection = new Inspection();
  for (const segment of segmentsOf(captureDirectory)) {
    const summary = summarize(segment);
    if (summary !== null) inspection.add(segment, summary);
  }
  return inspection.document(captureDirectory);
}

/** Null for a segment that has no tables yet, or that retention took just now. */
function summarize(segment: SegmentFile): SegmentSummary | null {
  try {
    if (segment.sealed) manifestOfWhole(segment.path);
    const reader = SegmentReader.open(segment);
    if (reader === null) return null;
    try {
      return summaryOf(reader);
    } finally {
      reader.close();
    }
  } catch (error) {
    if (error instanceof AppError && error.code === 'CAPTURE_NOT_FOUND') return null;
    throw error;
  }
}

class Inspection {
  #exchanges = 0;
  #firstUs: number | null = null;
  #lastUs: number | null = null;
  readonly #bytes = { request: 0, response: 0 };
  readonly #outcomes = { completed: 0, client_aborted: 0, upstream_failed: 0, timed_out: 0 };
  readonly #truncated = { requests: 0, responses: 0 };
  readonly #losses = new Amounts<LossReason>(LOSS_REASONS);
  readonly #omitted = new Amounts<OmissionCause>(OMISSION_CAUSES);
  readonly #protocols = new Map<string, { connections: number; bytes: number }>();
  readonly #days = new Map<string, { exchanges: number; bytes: number }>();
  readonly #segments: { file: string; sealed: boolean; exchanges: number; bytes: number }[] = [];
  readonly #expired = new Map<string, ExpiredSums>();
  readonly #recorders = new Map<string, { id: string; host: string; segments: number }>();
  readonly #origins = new Map<string, CaptureOrigin>();
  #fleetSize: number | null = null;
  #clockAnchors = 0;

  add({ file, path, sealed }: SegmentFile, summary: SegmentSummary): void {
    let exchanges = 0;
    for (const hour of summary.hours) {
      exchanges += hour.exchanges;
      this.#addHour(hour);
    }
    this.#exchanges += exchanges;
    if (summary.span !== null) {
      this.#firstUs = Math.min(this.#firstUs ?? summary.span.firstUs, summary.span.firstUs);
      this.#lastUs = Math.max(this.#lastUs ?? summary.span.lastUs, summary.span.lastUs);
    }
    for (const { reason, ...amount } of summary.losses) this.#losses.add(reason, amount);
    for (const { cause, ...amount } of summary.omissions) this.#omitted.add(cause, amount);
    for (const { protocol, connections, bytes } of summary.protocols) {
      const sum = entryOf(this.#protocols, protocol, { connections: 0, bytes: 0 });
      sum.connections += connections;
      sum.bytes += bytes;
    }
    for (const gone of summary.expiries) this.#expired.set(gone.file, gone);
    this.#clockAnchors += summary.anchors;
    this.#addMeta(summary);
    this.#segments.push({ file, sealed, exchanges, bytes: diskBytesOf(path) });
  }

  document(directory: string): InspectDocument {
    const files = readdirSync(directory);
    const expired = [...this.#expired.values()];
    const { exchanges: lost } = this.#losses.total;
    const seen = this.#exchanges + lost + this.#omitted.of('sampled_out').exchanges;
    return {
      schemaVersion: 1,
      directory,
      exchanges: this.#exchanges,
      firstArrival: this.#firstUs === null ? null : formatInstantUs(this.#firstUs),
      lastArrival: this.#lastUs === null ? null : formatInstantUs(this.#lastUs),
      bytes: { ...this.#bytes, disk: files.reduce((sum, file) => sum + sizeOf(join(directory, file)), 0) },
      outcomes: this.#outcomes,
      truncated: this.#truncated,
      losses: { ...this.#losses.total, byReason: this.#losses.each() },
      omitted: { ...this.#omitted.total, byCause: this.#omitted.each() },
      coverage: seen === 0 ? null : this.#exchanges / seen,
      protocols: Object.fromEntries(this.#protocols),
      days: [...this.#days].map(([day, sums]) => ({ day, ...sums })).sort((a, b) => (a.day < b.day ? -1 : 1)),
      segments: this.#segments,
      expired: {
        segments: expired.reduce((sum, gone) => sum + gone.segments, 0),
        exchanges: expired.reduce((sum, gone) => sum + gone.exchanges, 0),
        bytes: expired.reduce((sum, gone) => sum + gone.bytes, 0),
      },
      damaged: files.filter((file) => file.endsWith(DAMAGED_SUFFIX)),
      recorders: [...this.#recorders.values()],
      fleetSize: this.#fleetSize,
      origins: [...this.#origins.values()],
      clockAnchors: this.#clockAnchors,
    };
  }

  #addHour(hour: SegmentSummary['hours'][number]): void {
    this.#bytes.request += hour.requestBytes;
    this.#bytes.response += hour.responseBytes;
    this.#outcomes.completed += hour.completed;
    this.#outcomes.client_aborted += hour.clientAborted;
    this.#outcomes.upstream_failed += hour.upstreamFailed;
    this.#outcomes.timed_out += hour.timedOut;
    this.#truncated.requests += hour.requestsTruncated;
    this.#truncated.responses += hour.responsesTruncated;
    const day = formatInstantUs(hour.hour * 3_600_000_000).slice(0, 10);
    const sum = entryOf(this.#days, day, { exchanges: 0, bytes: 0 });
    sum.exchanges += hour.exchanges;
    sum.bytes += hour.requestBytes + hour.responseBytes;
  }

  #addMeta({ meta }: SegmentSummary): void {
    const { id, host } = meta.recorder;
    entryOf(this.#recorders, id, { id, host, segments: 0 }).segments += 1;
    this.#origins.set(JSON.stringify(meta.origin), meta.origin);
    if (meta.fleetSize !== null) this.#fleetSize = Math.max(this.#fleetSize ?? 0, meta.fleetSize);
  }
}

/** Amounts under names of a closed list. */
class Amounts<Name extends string> {
  readonly #byName: Map<Name, { exchanges: number; bytes: number }>;
  readonly total = { exchanges: 0, bytes: 0 };

  constructor(names: readonly Name[]) {
    this.#byName = new Map(names.map((name) => [name, { exchanges: 0, bytes: 0 }]));
  }

  add(name: Name, { exchanges, bytes }: { readonly exchanges: number; readonly bytes: number }): void {
    const sum = entryOf(this.#byName, name, { exchanges: 0, bytes: 0 });
    sum.exchanges += exchanges;
    sum.bytes += bytes;
    this.total.exchanges += exchanges;
    this.total.bytes += bytes;
  }

  of(name: Name): { readonly exchanges: number; readonly bytes: number } {
    return this.#byName.get(name) ?? { exchanges: 0, bytes: 0 };
  }

  /** Those that are not zero. */
  each(): Partial<Record<Name, { exchanges: number; bytes: number }>> {
    const entries = [...this.#byName].filter(([, { exchanges, bytes }]) => exchanges + bytes > 0);
    return Object.fromEntries(entries) as Partial<Record<Name, { exchanges: number; bytes: number }>>;
  }
}

function entryOf<Key, Value>(map: Map<Key, Value>, key: Key, fresh: Value): Value {
  const known = map.get(key);
  if (known !== undefined) return known;
  map.set(key, fresh);
  return fresh;
}

function diskBytesOf(path: string): number {
  return ['', ...SIDE_SUFFIXES].reduce((sum, suffix) => sum + sizeOf(`${path}${suffix}`), 0);
}

function sizeOf(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0;
}
