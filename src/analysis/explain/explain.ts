import { picked } from '../../core/picked.ts';
import { linesOf } from '../../core/text.ts';
import type { Cause, CauseKind, Explanation, NamedCause, ProofRequest } from '../../documents/explanation.ts';
import type { ReplayDocument } from '../../documents/replay.ts';
import { sharingCauses, waitingCauses } from './crowds.ts';
import {
  areAlike,
  type Candidate,
  CONSTANT_PREFERENCE,
  Evidence,
  groupsOf,
  medianOf,
  namesIn,
  percentileOf,
} from './evidence.ts';
import { episodeCauses, stallCauses } from './moments.ts';
import { type ExplainedRequests, type RequestParts, tokenMsOf, totalMs } from './requests.ts';
import { faultCauses, replicaCauses, resourceCauses, type SeenSeries } from './resources.ts';
import { causeText, triesOf } from './words.ts';
import {
  fillingCause,
  fittedQueue,
  fixedDelayCause,
  groupCauses,
  holdingCauses,
  openingCause,
  sizeCauses,
  timeoutCauses,
} from './work.ts';

/** What an explanation is made of, besides the requests of the run. */
export interface ExplainInput {
  readonly document: ReplayDocument;
  /** What monitors saw, with values over time; absent without monitors. */
  readonly series?: readonly SeenSeries[];
}

/** A cause with a smaller share is not named: it may be chance. */
const LEAST_SHARE = 0.05;
/** Fewer broken requests show no cause of their times. */
const LEAST_BROKEN = 5;
const LEAST_SEPARATION = 0.3;
const MOST_CAUSES = 6;

/** Why the objectives of a run were violated: what its broken requests lost, split into causes. */
export function explained(found: ExplainedRequests, { document, series = [] }: ExplainInput): Explanation {
  const { against, sent, objectives } = found;
  const requests = against === null ? [] : found.requests;
  const evidence = new Evidence(requests);
  const broken = [...requests.keys()].filter((at) => requests[at]!.isBroken);
  const latency = (at: number) => requests[at]!.parts && totalMs(requests[at]!.parts);
  const causes = [
    ...ownCauses(evidence),
    ...failureCauses(evidence, broken),
    ...targetCauses(evidence, document, series),
  ]
    .map((cause) => shownCause(evidence, cause, broken.length))
    .filter(({ share }) => share >= LEAST_SHARE)
    .sort((a, b) => b.share - a.share);
  const rest = 1 - causes.reduce((sum, { share }) => sum + share, 0);
  return {
    against,
    objectives,
    requests: { sent, examined: found.requests.length, broken: broken.length },
    usualMs: medianOf(evidence.fast, latency),
    brokenMs: medianOf(broken, latency),
    recordedMs: medianOf(broken, (at) => requests[at]!.recordedMs),
    phases: phasesOf(broken.flatMap((at) => requests[at]!.parts ?? [])),
    causes,
    unexplained: broken.length === 0 ? 0 : Math.max(0, Math.min(1, rest)),
    notes: notesOf(found, broken.length, document),
  };
}

/** A cause with its effect on each request. */
interface FoundCause extends Pick<Candidate, 'kind' | 'subject' | 'figures'> {
  readonly alike: readonly NamedCause[];
  /** The sum over broken requests, each of which has the weight 1. */
  readonly weight: number;
  /** The broken requests that it affected. */
  readonly places: readonly number[];
  readonly causedMs: (at: number) => number;
}

/** Our lag, pauses and caps, and connecting: parts of the time that are known exactly. */
function ownCauses({ requests, broken, lostMs }: Evidence): FoundCause[] {
  const part = (kind: CauseKind, of: (parts: RequestParts) => number): FoundCause => {
    const causedMs = (at: number) => {
      const { parts } = requests[at]!;
      return parts === null ? 0 : Math.min(of(parts), lostMs[at]!);
    };
    const shares = broken.map((at) => (lostMs[at] === 0 ? 0 : causedMs(at) / lostMs[at]!));
    const places = broken.filter((_, index) => shares[index]! >= LEAST_SHARE);
    const maxMs = places.reduce((most, at) => Math.max(most, causedMs(at)), 0);
    const figures = { medianMs: medianOf(places, causedMs), maxMs };
    const weight = shares.reduce((sum, share) => sum + share, 0);
    return { kind, subject: null, figures, alike: [], weight, places, causedMs };
  };
  return [
    part('generator', ({ generatorMs }) => generatorMs),
    part('connecting', ({ connectMs }) => connectMs),
  ];
}

/** Failures in which no connection came about, and those in which it was closed before the answer. */
const CONNECTING = /^connect_/;
const CLOSED: ReadonlySet<string> = new Set(['reset', 'closed_early', 'reset_on_reuse']);
const OURS: ReadonlySet<string> = new Set(['refused', 'no_socket']);
/** Requests of one group fail, and others do not, if this share of them does. */
const LEAST_OF_GROUP = 0.8;

/** Requests without an answer, by the error or the status. Closed connections are one cause, named by the commonest. */
function failureCauses({ requests, timed, fast }: Evidence, broken: readonly number[]): FoundCause[] {
  const failure = (at: number) => requests[at]!.failure ?? '';
  const inFlight = (at: number) => requests[at]!.inFlight;
  const failed = broken.filter((at) => failure(at) !== '');
  const groups = Map.groupBy(failed, (at) => (CLOSED.has(failure(at)) ? 'closed' : failure(at)));
  return [...groups.values()].map((places) => {
    const [subject = ''] = namesIn(places.map(failure), 0);
    const share = (among: readonly number[], is: (at: number) => boolean) =>
      among.filter(is).length / among.length;
    const separates = (is: (at: number) => boolean) =>
      timed.length > 0 && share(places, is) - share(timed, is) >= LEAST_OF_GROUP;
    const crowd = percentileOf(places.map(inFlight), 10) ?? 0;
    const isByCrowd = CLOSED.has(subject) && crowd > 0 && separates((at) => inFlight(at) >= crowd);
    const isOfConnections = CONNECTING.test(subject) || isByCrowd;
    const isIn = new Set(places);
    return {
      kind: OURS.has(subject) ? 'generator' : isOfConnections ? 'connecting' : 'refusals',
      subject,
      figures: {
        shareOfRequests: places.length / requests.length,
        foundInFlight: medianOf(places, inFlight),
        othersFoundInFlight: medianOf(fast, inFlight),
        fromS: requests[places[0]!]!.plannedMs / 1e3,
        toS: requests[places.at(-1)!]!.plannedMs / 1e3,
        ...(isByCrowd && { fromInFlight: crowd }),
      },
      alike: groupsOf(requests, places, LEAST_OF_GROUP)
        .filter(({ isIn }) => separates(isIn))
        .map(({ kind, subject }) => ({ kind, subject })),
      weight: places.length,
      places,
      causedMs: (at) => (isIn.has(at) ? (requests[at]!.endMs ?? 0) - (requests[at]!.sentMs ?? 0) : 0),
    };
  });
}

/** Causes in the target, the best first: each is taken away before the next one is searched. */
function targetCauses(
  evidence: Evidence,
  { faults }: ReplayDocument,
  series: readonly SeenSeries[],
): FoundCause[] {
  const queue = fittedQueue(evidence);
  const causes: FoundCause[] = [];
  while (causes.length < MOST_CAUSES && evidence.slow.length >= LEAST_BROKEN) {
    const candidates = [
      ...stallCauses(evidence),
      ...faultCauses(evidence, faults),
      ...replicaCauses(evidence, series),
      ...resourceCauses(evidence, series),
      ...episodeCauses(evidence),
      ...groupCauses(evidence),
      ...sizeCauses(evidence),
      ...holdingCauses(evidence),
      ...openingCause(evidence),
      ...waitingCauses(evidence, queue),
      ...sharingCauses(evidence),
      ...fixedDelayCause(evidence),
      ...timeoutCauses(evidence),
    ]
      .filter(({ separation }) => separation >= LEAST_SEPARATION)
      .filter(({ kind, subject }) => !causes.some((each) => each.kind === kind && each.subject === subject))
      .map((each) => ({ each, share: evidence.shareOf(each) }))
      .filter(({ share }) => share >= LEAST_SHARE)
      .sort((a, b) => scoreOf(b) - scoreOf(a));
    const [best] = candidates;
    if (best === undefined) break;
    const filling = best.each.kind === 'waiting' && queue !== null ? fillingCause(evidence, queue) : null;
    const alike = candidates.filter(
      ({ each, share }) => share >= MOST_OF * best.share && isAlike(best.each, each, evidence),
    );
    causes.push(
      causeInTarget(evidence, filling ?? best.each, filling === null ? alike.map(({ each }) => each) : []),
    );
    evidence.take(filling ?? best.each);
  }
  return causes;
}

function scoreOf({ each, share }: { readonly each: Candidate; readonly share: number }): number {
  return share * each.separation * each.preference;
}

/** Another explanation of the same requests must explain this share of it. */
const MOST_OF = 0.5;

/**
 * A wait is the usual consequence of other causes, so it is no other explanation of them, unless they held all the
 * time.
 */
function isAlike(best: Candidate, other: Candidate, evidence: Evidence): boolean {
  if (best.kind === other.kind) return false;
  if (other.kind === 'waiting') return best.preference === CONSTANT_PREFERENCE;
  return best.kind !== 'waiting' && other.kind !== 'retries' && areAlike(best, other, evidence);
}

function causeInTarget(evidence: Evidence, chosen: Candidate, alike: readonly NamedCause[]): FoundCause {
  const { excessMs, lostMs, broken } = evidence;
  const caused = Float64Array.from(excessMs, (ms, at) => Math.min(ms, chosen.explainedMs(at)));
  return {
    ...picked(chosen, 'kind', 'subject', 'figures'),
    alike: alike.map(({ kind, subject }) => ({ kind, subject })),
    weight: evidence.shareOf(chosen) * broken.length,
    places: broken.filter((at) => caused[at]! > 0 && caused[at]! >= LEAST_SHARE * lostMs[at]!),
    causedMs: (at) => caused[at]!,
  };
}

function shownCause(
  evidence: Evidence,
  { weight, causedMs, places, ...named }: FoundCause,
  broken: number,
): Cause {
  return {
    ...named,
    share: Math.min(1, weight / Math.max(1, broken)),
    requests: places.length,
    proof: proofOf(evidence, places, causedMs, named.kind === 'waiting'),
    text: causeText(named),
    tryThis: triesOf(named),
  };
}

/**
 * The clearest request with the cause, and one without it: of the same route and model if there is one, and next to it
 * in time, or with the fewest others in flight.
 */
function proofOf(
  { requests, fast }: Evidence,
  places: readonly number[],
  causedMs: (at: number) => number,
  isByCrowd: boolean,
): ProofRequest[] {
  const clearest = leastBy(places, (at) => -causedMs(at));
  if (clearest === undefined) return [];
  const { route, model, plannedMs } = requests[clearest]!;
  const others = fast.filter((at) => causedMs(at) <= LEAST_SHARE * causedMs(clearest));
  const nearest = leastBy(others, (at) => {
    const other = requests[at]!;
    const isOther = Number(other.route !== route) + Number(other.model !== model);
    return isOther * 1e12 + (isByCrowd ? other.meanInFlight : Math.abs(other.plannedMs - plannedMs));
  });
  return [clearest, ...(nearest === undefined ? [] : [nearest])].map((at) => {
    const { id, parts, inFlight, meanInFlight } = requests[at]!;
    const affected = at === clearest;
    const ms = parts && totalMs(parts);
    const tokenMs = parts && tokenMsOf(parts);
    return { ...id, affected, ms, causedMs: affected ? causedMs(at) : 0, inFlight, meanInFlight, tokenMs };
  });
}

function leastBy(places: readonly number[], of: (at: number) => number): number | undefined {
  return places.reduce<number | undefined>(
    (least, at) => (least === undefined || of(at) < of(least) ? at : least),
    undefined,
  );
}

/** Shares of the time of broken requests, each with the same weight. */
function phasesOf(all: readonly RequestParts[]): Explanation['phases'] {
  const timed = all.filter((parts) => totalMs(parts) > 0);
  if (timed.length === 0) return null;
  const mean = (of: (parts: RequestParts) => number) =>
    timed.reduce((sum, parts) => sum + Math.min(1, of(parts) / totalMs(parts)), 0) / timed.length;
  return {
    generator: mean(({ generatorMs }) => generatorMs),
    connecting: mean(({ connectMs }) => connectMs),
    firstByte: mean(({ firstMs }) => firstMs),
    rest: mean(({ targetMs, firstMs }) => targetMs - firstMs),
  };
}

function notesOf(
  { against, requests, sent, objectives }: ExplainedRequests,
  broken: number,
  { slo }: ReplayDocument,
): string[] {
  const isOfRun = objectives.length === 0 && slo.some(({ ok }) => ok === false);
  return linesOf(
    against !== null &&
      broken < LEAST_BROKEN &&
      `Only ${broken} requests broke an objective: too few to find a cause of their times.`,
    requests.length < sent &&
      `Only ${requests.length} of ${sent} requests were examined: those in a row with the most broken ones.`,
    isOfRun && 'A violated objective is on the run as a whole, so no request can be named that broke it.',
  );
}
