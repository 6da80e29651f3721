import { Histogram } from '../../core/histogram.ts';
import { isTurnedAway } from '../../core/run.ts';
import { formatBytes, formatMs, percent } from '../../core/units.ts';
import type { JudgementBounds } from '../../documents/replay.ts';
import { NamedGroups, shareDistance, Tally } from '../stats/tally.ts';
import { isRefusal } from './outcomes.ts';

/** One of two answers to the same request, to compare. Null means unknown. */
interface ComparedAnswer {
  readonly status: number;
  readonly bytes: number | null;
  readonly streamed: boolean | null;
  /** Whether it reports an error despite a 2xx status. */
  readonly tellsError: boolean | null;
  readonly tookNs: number | null;
}

/** The answers to the requests of one route on both sides. */
export interface RouteLikeness {
  readonly route: string | null;
  readonly answers: number;
  /** Total variation between the mixes of statuses. */
  readonly statusDistance: number;
  /** The status whose share has grown most. */
  readonly newStatus: number | null;
  /** Medians of answers that were served on both sides; null if unknown. */
  readonly bytes: { readonly before: number | null; readonly now: number | null };
  readonly tookNs: { readonly before: number | null; readonly now: number | null };
  /** Number of requests that were served on both sides. */
  readonly served: number;
  /** Of these, answers with an error, or empty ones if the other answer was not empty. `before` is null if unknown. */
  readonly errors: { readonly before: number | null; readonly now: number };
  /** Of these, recorded streams, and how many of them are now answered without streaming. */
  readonly streams: number;
  readonly whole: number;
}

class RouteAnswers {
  requests = 0;
  served = 0;
  streams = 0;
  whole = 0;
  errorsKnown = 0;
  readonly errors = { before: 0, now: 0 };
  readonly statuses = { before: new Tally<number>(), now: new Tally<number>() };
  readonly bytes = { before: new Histogram(), now: new Histogram() };
  readonly tookNs = { before: new Histogram(), now: new Histogram() };

  add(before: ComparedAnswer, now: ComparedAnswer): void {
    // A refusal because of load shows nothing about the answer. To serve such a request now is no difference.
    if (isRefusal(before.status)) return;
    this.requests += 1;
    this.statuses.before.count(before.status);
    this.statuses.now.count(now.status);
    if (isTurnedAway(before.status) || isTurnedAway(now.status)) return;
    this.served += 1;
    recordBoth(this.bytes, before.bytes, now.bytes);
    recordBoth(this.tookNs, before.tookNs, now.tookNs);
    if (before.tellsError !== null) this.errorsKnown += 1;
    if (before.tellsError === true || isEmptyBeside(before, now)) this.errors.before += 1;
    if (now.tellsError === true || isEmptyBeside(now, before)) this.errors.now += 1;
    if (before.streamed !== true) return;
    this.streams += 1;
    if (now.streamed === false) this.whole += 1;
  }

  figures(route: string | null): RouteLikeness {
    const { requests: answers, served, streams, whole, statuses, errors } = this;
    const excess = [...statuses.now].map(
      ([status, times]) => [status, times - (statuses.before.get(status) ?? 0)] as const,
    );
    const [status = null, more = 0] = excess.sort(([, a], [, b]) => b - a)[0] ?? [];
    const medians = ({ before, now }: { before: Histogram; now: Histogram }) => ({
      before: before.percentile(50),
      now: now.percentile(50),
    });
    return {
      route,
      answers,
      served,
      streams,
      whole,
      statusDistance: shareDistance(statuses.before, statuses.now) ?? 0,
      newStatus: more > 0 ? status : null,
      bytes: medians(this.bytes),
      tookNs: medians(this.tookNs),
      errors: { before: this.errorsKnown === 0 ? null : errors.before, now: errors.now },
    };
  }
}

function isEmptyBeside(one: ComparedAnswer, other: ComparedAnswer): boolean {
  return one.bytes === 0 && other.bytes !== null && other.bytes > 0;
}

function recordBoth(
  histograms: { readonly before: Histogram; readonly now: Histogram },
  before: number | null,
  now: number | null,
): void {
  if (before === null || now === null) return;
  histograms.before.record(Math.max(0, Math.round(before)));
  histograms.now.record(Math.max(0, Math.round(now)));
}

/** Compares answers with earlier ones to the same requests, by route, with constant memory. */
export class AnswerLikeness {
  readonly #routes = new NamedGroups(() => new RouteAnswers());

  add(route: string | null, before: ComparedAnswer, now: ComparedAnswer): void {
    this.#routes.groupOf(route)?.add(before, now);
  }

  /** Routes with their figures, the busiest first. */
  figures(): readonly RouteLikeness[] {
    return this.#routes.ordered().map(([route, answers]) => answers.figures(route));
  }
}

/** Fewer answers of a route are not compared. */
const LEAST_ANSWERS = 30;
/** The fewest differing answers. A single one of a few would already exceed the allowed share. */
const LEAST_OTHERS = 2;
/** A note is given if the median is at least this many times lower than before. */
const FAR_BELOW = 4;
/** Shorter times depend as much on our own event loop as on the target. */
const LEAST_COMPARED_NS = 2e6;

type LikenessBounds = Pick<JudgementBounds, 'statusShare' | 'sizeFactor'>;

/**
 * How the answers of a route differ from earlier ones, with both figures.
 * @param withStatuses false if another reason already names the mix of all statuses
 * @param earlier the word for the earlier answers
 */
export function differencesIn(
  { route, answers, served, statusDistance, newStatus, bytes, errors, streams, whole }: RouteLikeness,
  { statusShare, sizeFactor }: LikenessBounds,
  withStatuses = true,
  earlier = 'recorded',
): string[] {
  if (answers < LEAST_ANSWERS) return [];
  const name = route ?? 'requests without a route';
  const isOver = (others: number, of: number) => others >= LEAST_OTHERS && others > statusShare * of;
  const found: string[] = [];
  if (withStatuses && isOver(statusDistance * answers, answers)) {
    const status = newStatus === null ? 'another status' : `status ${newStatus} in place of the recorded one`;
    found.push(`${name}: ${percent(statusDistance)} of the answers have ${status}`);
  }
  if (served < LEAST_ANSWERS) return found;
  const { before, now } = bytes;
  if (before !== null && now !== null && (now > sizeFactor * before || now * sizeFactor < before)) {
    found.push(`${name}: the median answer has ${formatBytes(now)}, ${earlier} ${formatBytes(before)}`);
  }
  if (isOver(errors.now - (errors.before ?? 0), served)) {
    const recorded = errors.before === null ? 'unknown' : percent(errors.before / served);
    found.push(
      `${name}: ${percent(errors.now / served)} of the 2xx answers are empty, broken or report an error, ${earlier} ${recorded}`,
    );
  }
  if (isOver(whole, streams)) {
    found.push(`${name}: ${percent(whole / streams)} of the recorded streams were answered whole`);
  }
  return found;
}

/** A sentence for a route that answers far faster than before, with both medians. */
export function fasterIn({ route, served, tookNs: { before, now } }: RouteLikeness): string[] {
  if (served < LEAST_ANSWERS || before === null || now === null) return [];
  if (before < LEAST_COMPARED_NS || now * FAR_BELOW > before) return [];
  return [
    `${route ?? 'requests without a route'}: median ${formatMs(now / 1e6)}, recorded ${formatMs(before / 1e6)}`,
  ];
}
