import { LIMITS } from '../../core/limits.ts';
import { SeededRandom } from '../../core/random.ts';
import { grpcStatusName } from '../../inference/grpc.ts';
import type { SegmentFile } from './directory.ts';
import { withSegment } from './segment-reader.ts';
import { orGone } from './sqlite.ts';

/** Exchanges by a name; `name` is null for those without one. */
export interface NamedCount {
  readonly name: string | null;
  readonly exchanges: number;
}

/** The composition of a capture's traffic, with the most common values first. */
export interface TrafficMix {
  /** Exchanges that were read: all of a small capture, or a sample. */
  readonly exchanges: number;
  /** Segments that they are from. */
  readonly segments: number;
  readonly routes: readonly NamedCount[];
  readonly models: readonly NamedCount[];
  readonly statuses: readonly NamedCount[];
  /** Of gRPC calls, by name. */
  readonly grpcStatuses: readonly NamedCount[];
  /** 2xx answers whose body was checked, and those of them that report an error. */
  readonly answerErrors: { readonly answers: number; readonly told: number };
  /** Exchanges with a trace id of their client. */
  readonly traced: number;
  /** Exchanges that were searched for links while they were recorded, and those of them that have some. */
  readonly searched: number;
  readonly linked: number;
}

interface MixRow {
  readonly route: string | null;
  readonly model: string | null;
  readonly status: number | null;
  readonly grpcStatus: number | null;
  readonly exchanges: number;
  readonly answers: number;
  readonly told: number;
  readonly traced: number;
  readonly searched: number;
  readonly linked: number;
}

/** Groups of the exchanges after one id, up to another. Grouping by numbers before names are joined halves the time. */
const SELECT_MIX = `SELECT r.text AS route, m.text AS model, status, grpc_status AS grpcStatus, exchanges, answers, told, traced,
  searched, linked
  FROM (SELECT route, model, status, grpc_status, count(*) AS exchanges, count(answer_error) AS answers,
    coalesce(sum(answer_error), 0) AS told, count(trace_id) AS traced,
    count(number) AS searched, coalesce(sum(links > 0), 0) AS linked FROM exchange WHERE id > ? AND id <= ? GROUP BY 1, 2, 3, 4)
  LEFT JOIN name AS r ON r.id = route LEFT JOIN name AS m ON m.id = model`;

const SUMMED = ['exchanges', 'answers', 'told', 'traced', 'searched', 'linked'] as const;

/** Number of stretches of a segment in a sample. */
const STRETCHES = 16;
/** Any fixed seed, so that the same capture always has the same sample. */
const SEED = 1;

/**
 * Counts exchanges by route, model and status: all of a small capture. For a large one, it draws segments of each
 * recorder, and stretches of each segment. This is systematic sampling with a random place in each step.
 * @param segments the segments with their number of exchanges; one that retention removed meanwhile is skipped
 */
export function trafficMix(
  segments: readonly { readonly file: SegmentFile; readonly exchanges: number }[],
  mostExchanges: number = LIMITS.mixedExchanges,
  mostSegments: number = LIMITS.mixedSegments,
): TrafficMix {
  const total = (of: typeof segments) => of.reduce((sum, { exchanges }) => sum + exchanges, 0);
  // Opening hundreds of segments takes longer than counting.
  const isLarge = total(segments) > mostExchanges;
  const random = new SeededRandom(SEED);
  const read = isLarge ? drawn(segments, mostSegments, random) : segments;
  const share = Math.min(1, mostExchanges / Math.max(1, total(read)));
  const counts = {
    routes: new Counts(),
    models: new Counts(),
    statuses: new Counts(),
    grpcStatuses: new Counts(),
  };
  const sums = { exchanges: 0, answers: 0, told: 0, traced: 0, searched: 0, linked: 0 };
  for (const { file } of read) {
    const rows =
      orGone(() =>
        withSegment(file, (reader) => {
          const last = reader.all<{ id: number | null }>('SELECT max(id) AS id FROM exchange')[0]?.id ?? 0;
          return stretches(last, share, random).flatMap((ends) => reader.all<MixRow>(SELECT_MIX, ...ends));
        }),
      ) ?? [];
    for (const row of rows) {
      const { route, model, status, grpcStatus, exchanges: times } = row;
      for (const sum of SUMMED) sums[sum] += row[sum];
      counts.routes.add(route, times);
      counts.models.add(model, times);
      counts.statuses.add(status === null ? null : String(status), times);
      if (grpcStatus !== null) counts.grpcStatuses.add(grpcStatusName(grpcStatus), times);
    }
  }
  return {
    exchanges: sums.exchanges,
    segments: read.length,
    routes: counts.routes.ordered(),
    models: counts.models.ordered(),
    statuses: counts.statuses.ordered(),
    grpcStatuses: counts.grpcStatuses.ordered(),
    answerErrors: { answers: sums.answers, told: sums.told },
    traced: sums.traced,
    searched: sums.searched,
    linked: sums.linked,
  };
}

/** Draws one segment from each group of neighbours, in the order of recorders. */
function drawn<Segment extends { readonly file: SegmentFile }>(
  segments: readonly Segment[],
  most: number,
  random: SeededRandom,
): Segment[] {
  const byRecorder = [...Map.groupBy(segments, ({ file }) => file.recorder).values()].flat();
  return evenly(segments.length, Math.min(most, segments.length)).flatMap(([from, to]) => {
    const at = from + random.below(to - from);
    return byRecorder.slice(at, at + 1);
  });
}

/**
 * Ends of stretches that contain this share of the ids from 1 to `last`. A stretch begins after its first id and ends
 * with its second.
 */
function stretches(last: number, share: number, random: SeededRandom): (readonly [number, number])[] {
  const most = Math.ceil(last * share);
  if (most >= last) return [[0, last]];
  const count = Math.min(STRETCHES, most);
  const lengths = evenly(most, count).map(([from, to]) => to - from);
  return evenly(last, count).map(([from, to], at) => {
    const length = Math.min(lengths[at] ?? 0, to - from);
    const start = from + random.below(to - from - length + 1);
    return [start, start + length];
  });
}

/** Divides the whole numbers from 0 to `length` into this many parts. */
function evenly(length: number, parts: number): (readonly [number, number])[] {
  const end = (at: number) => Math.floor((at * length) / parts);
  return Array.from({ length: parts }, (_, at) => [end(at), end(at + 1)]);
}

class Counts {
  readonly #times = new Map<string | null, number>();

  add(name: string | null, times: number): void {
    this.#times.set(name, (this.#times.get(name) ?? 0) + times);
  }

  ordered(): NamedCount[] {
    return [...this.#times]
      .map(([name, exchanges]) => ({ name, exchanges }))
      .sort((a, b) => b.exchanges - a.exchanges || ((a.name ?? '') < (b.name ?? '') ? -1 : 1))
      .slice(0, LIMITS.mixedNames);
  }
}
