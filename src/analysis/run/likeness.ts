import type { FinishReason } from '../../core/exchange.ts';
import { Histogram } from '../../core/histogram.ts';
import { isTurnedAway } from '../../core/run.ts';
import { countOf, formatBytes, formatMs, percent } from '../../core/units.ts';
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
  readonly outputTokens?: number | null;
  /** Why the server stopped generating, or that it does not say; null or absent if unknown. */
  readonly finish?: FinishReason | 'none' | null;
  /** Identifies the body among those of its side and source. */
  readonly body?: number | null;
}

/** The kind of a request, by which answers are compared. */
interface AnswerKind {
  readonly route: string | null;
  /** Whether the earlier answer was a stream; null if unknown. */
  readonly streamed?: boolean | null;
  readonly model?: string | null;
}

/** The answers to the requests of one route on both sides. */
export interface RouteLikeness extends AnswerKind {
  /** The same by streamed or whole, and by model. Empty if all answers of the route are of one kind. */
  readonly kinds: readonly RouteLikeness[];
  readonly answers: number;
  /** Total variation between the mixes of statuses. */
  readonly statusDistance: number;
  /** The status whose share has grown most. */
  readonly newStatus: number | null;
  /** Medians of answers that were served on both sides; null if unknown. */
  readonly bytes: { readonly before: number | null; readonly now: number | null };
  readonly tookNs: { readonly before: number | null; readonly now: number | null };
  readonly outputTokens: { readonly before: number | null; readonly now: number | null };
  /**
   * Answers whose finish reasons are known on both sides, the distance of their mixes, what has grown most, and by how
   * many more end in a content filter.
   */
  readonly finishes: {
    readonly answers: number;
    readonly distance: number;
    readonly new: string | null;
    readonly filtered: number;
  };
  /**
   * Pairs of answers, each with the ones just before it, whose bodies are known on both sides, and how many pairs are
   * equal. A target that answers everything alike has more of them.
   */
  readonly pairs: number;
  readonly equal: { readonly before: number; readonly now: number };
  /** Number of requests that were served on both sides. */
  readonly served: number;
  /** Of these, answers with an error, or empty ones if the other answer was not empty. `before` is null if unknown. */
  readonly errors: { readonly before: number | null; readonly now: number };
  /** Of these, recorded streams, and how many of them are now answered without streaming. */
  readonly streams: number;
  readonly whole: number;
}

/** Most kinds of a route. Answers of further ones are compared by route alone. */
const MAX_KINDS = 20;

const FILTERED: FinishReason = 'content_filter';

/** How many earlier bodies each one is compared with. Several, because different requests may take turns. */
const COMPARED_WITH = 8;

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
  readonly outputTokens = { before: new Histogram(), now: new Histogram() };
  readonly finishes = { before: new Tally<string>(), now: new Tally<string>() };
  #finished = 0;
  #pairs = 0;
  readonly #equal = { before: 0, now: 0 };
  readonly #last: Bodies[] = [];

  /** @param source the segment in which recorded bodies have their numbers; null if bodies are not compared */
  add(before: ComparedAnswer, now: ComparedAnswer, source: string | null): void {
    // A refusal because of load shows nothing about the answer. To serve such a request now is no difference.
    if (isRefusal(before.status)) return;
    this.requests += 1;
    this.statuses.before.count(before.status);
    this.statuses.now.count(now.status);
    if (isTurnedAway(before.status) || isTurnedAway(now.status)) return;
    this.served += 1;
    recordBoth(this.bytes, before.bytes, now.bytes);
    recordBoth(this.tookNs, before.tookNs, now.tookNs);
    recordBoth(this.outputTokens, before.outputTokens ?? null, now.outputTokens ?? null);
    this.#addFinishes(before.finish ?? null, now.finish ?? null);
    this.#addBodies(source, before.body ?? null, now.body ?? null);
    if (before.tellsError !== null) this.errorsKnown += 1;
    if (before.tellsError === true || isEmptyBeside(before, now)) this.errors.before += 1;
    if (now.tellsError === true || isEmptyBeside(now, before)) this.errors.now += 1;
    if (before.streamed !== true) return;
    this.streams += 1;
    if (now.streamed === false) this.whole += 1;
  }

  #addFinishes(before: string | null, now: string | null): void {
    if (before === null || now === null) return;
    this.#finished += 1;
    this.finishes.before.count(before);
    this.finishes.now.count(now);
  }

  #addBodies(source: string | null, before: number | null, now: number | null): void {
    if (source === null || before === null || now === null) return;
    for (const last of this.#last) {
      if (last.source !== source) continue;
      this.#pairs += 1;
      if (last.before === before) this.#equal.before += 1;
      if (last.now === now) this.#equal.now += 1;
    }
    this.#last.push({ source, before, now });
    if (this.#last.length > COMPARED_WITH) this.#last.shift();
  }

  figures(kind: AnswerKind, kinds: readonly RouteLikeness[]): RouteLikeness {
    const { requests: answers, served, streams, whole, statuses, finishes, errors } = this;
    const medians = ({ before, now }: { before: Histogram; now: Histogram }) => ({
      before: before.percentile(50),
      now: now.percentile(50),
    });
    return {
      ...kind,
      kinds,
      answers,
      served,
      streams,
      whole,
      statusDistance: shareDistance(statuses.before, statuses.now) ?? 0,
      newStatus: grownMost(statuses),
      bytes: medians(this.bytes),
      tookNs: medians(this.tookNs),
      outputTokens: medians(this.outputTokens),
      finishes: {
        answers: this.#finished,
        distance: shareDistance(finishes.before, finishes.now) ?? 0,
        new: grownMost(finishes),
        filtered: (finishes.now.get(FILTERED) ?? 0) - (finishes.before.get(FILTERED) ?? 0),
      },
      pairs: this.#pairs,
      equal: this.#equal,
      errors: { before: this.errorsKnown === 0 ? null : errors.before, now: errors.now },
    };
  }
}

/** What is more frequent now by the largest number; null if nothing is. */
function grownMost<Key>({ before, now }: { before: Tally<Key>; now: Tally<Key> }): Key | null {
  const excess = [...now].map(([key, times]) => [key, times - (before.get(key) ?? 0)] as const);
  const [key = null, more = 0] = excess.sort(([, a], [, b]) => b - a)[0] ?? [];
  return more > 0 ? key : null;
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

interface Bodies {
  readonly source: string;
  readonly before: number;
  readonly now: number;
}

/** Answers of one kind within a route. */
class KindAnswers extends RouteAnswers {
  kind: AnswerKind = { route: null };
}

/** Answers of a route, together and by kind. */
class RouteGroup extends RouteAnswers {
  readonly kinds = new NamedGroups(() => new KindAnswers(), MAX_KINDS);
}

/** Compares answers with earlier ones to the same requests, by route and kind, with constant memory. */
export class AnswerLikeness {
  readonly #routes = new NamedGroups(() => new RouteGroup());

  /** @param source the segment in which recorded bodies have their numbers; null if bodies are not compared */
  add(kind: AnswerKind, before: ComparedAnswer, now: ComparedAnswer, source: string | null = null): void {
    const route = this.#routes.groupOf(kind.route);
    route?.add(before, now, source);
    const own = route?.kinds.groupOf(JSON.stringify([kind.streamed, kind.model]));
    if (own == null) return;
    own.kind = kind;
    own.add(before, now, source);
  }

  /** Routes with their figures, the busiest first. */
  figures(): readonly RouteLikeness[] {
    return this.#routes.ordered().map(([route, answers]) => {
      const kinds = answers.kinds.ordered().map(([, each]) => each.figures(each.kind, []));
      return answers.figures({ route }, kinds.length > 1 ? kinds : []);
    });
  }
}

/** Fewer answers of a route are not compared. */
const LEAST_ANSWERS = 30;
/** The fewest differing answers. A single one of a few would already exceed the allowed share. */
const LEAST_OTHERS = 2;
/** This share of the pairs may be equal beyond the recorded ones. Another build of a classifier may prefer other labels. */
const MOST_MORE_EQUAL = 0.2;
/** This share of the answers may end for another reason: where answers are drawn, it varies from run to run. */
const MOST_OTHER_FINISHES = 0.2;
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
  route: RouteLikeness,
  bounds: LikenessBounds,
  withStatuses = true,
  earlier = 'recorded',
): string[] {
  const found = ownDifferences(route, bounds, withStatuses, earlier);
  if (found.length > 0) return found;
  return route.kinds.flatMap((kind) => ownDifferences(kind, bounds, withStatuses, earlier));
}

function nameOf({ route, streamed = null, model = null }: AnswerKind): string {
  const form = streamed === null ? null : streamed ? 'streamed' : 'whole';
  const parts = [form, model].filter((each) => each !== null);
  return `${route ?? 'requests without a route'}${parts.length === 0 ? '' : ` (${parts.join(', ')})`}`;
}

function ownDifferences(
  likeness: RouteLikeness,
  { statusShare, sizeFactor }: LikenessBounds,
  withStatuses: boolean,
  earlier: string,
): string[] {
  const { answers, served, statusDistance, newStatus, errors, streams, whole, pairs, equal } = likeness;
  if (answers < LEAST_ANSWERS) return [];
  const name = nameOf(likeness);
  const isOver = (others: number, of: number) => others >= LEAST_OTHERS && others > statusShare * of;
  const found: string[] = [];
  if (withStatuses && isOver(statusDistance * answers, answers)) {
    const status = newStatus === null ? 'another status' : `status ${newStatus} in place of the recorded one`;
    found.push(`${name}: ${percent(statusDistance)} of the answers have ${status}`);
  }
  if (served < LEAST_ANSWERS) return found;
  const medians = [
    { ...likeness.bytes, text: formatBytes },
    { ...likeness.outputTokens, text: (count: number) => countOf(count, 'token') },
  ];
  for (const { before, now, text } of medians) {
    if (before === null || now === null || isWithin(sizeFactor, before, now)) continue;
    found.push(`${name}: the median answer has ${text(now)}, ${earlier} ${text(before)}`);
  }
  if (pairs >= LEAST_ANSWERS && equal.now - equal.before > MOST_MORE_EQUAL * pairs) {
    const shares = [equal.now, equal.before].map((each) => percent(each / pairs));
    found.push(`${name}: two answers are the same in ${shares[0]} of the cases, ${earlier} ${shares[1]}`);
  }
  const { finishes } = likeness;
  const isOtherwise = finishes.distance > MOST_OTHER_FINISHES || isOver(finishes.filtered, finishes.answers);
  if (finishes.answers >= LEAST_ANSWERS && isOtherwise) {
    const why =
      finishes.new === 'none'
        ? 'do not say why they end'
        : `end for another reason, more with ${finishes.new}`;
    found.push(`${name}: ${percent(finishes.distance)} of the answers ${why}`);
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

function isWithin(factor: number, before: number, now: number): boolean {
  return now <= factor * before && now * factor >= before;
}

/** A sentence for a route that answers far faster than before, with both medians. */
export function fasterIn({ route, served, tookNs: { before, now } }: RouteLikeness): string[] {
  if (served < LEAST_ANSWERS || before === null || now === null) return [];
  if (before < LEAST_COMPARED_NS || now * FAR_BELOW > before) return [];
  return [
    `${route ?? 'requests without a route'}: median ${formatMs(now / 1e6)}, recorded ${formatMs(before / 1e6)}`,
  ];
}
