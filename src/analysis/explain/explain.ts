import type { Send } from '../../core/run.ts';
import type { Cause, CauseKind, Explanation, NamedCause, ProofRequest } from '../../documents/explanation.ts';
import type { ReplayDocument } from '../../documents/replay.ts';
import { Tally } from '../stats/tally.ts';
import {
  areAlike,
  type Candidate,
  CONSTANT_PREFERENCE,
  Evidence,
  GROUPS,
  namesOf,
  percentileOf,
} from './evidence.ts';
import {
  episodeCauses,
  faultCauses,
  replicaCauses,
  resourceCauses,
  type SeenSeries,
  stallCauses,
} from './moments.ts';
import { type ExplainedRequest, type ExplainedRequests, RequestCollector, totalMs } from './requests.ts';
import { causeText, triesOf } from './words.ts';
import {
  type FittedQueue,
  fillingCause,
  fittedQueue,
  fixedDelayCause,
  groupCauses,
  openingCause,
  sizeCauses,
  timeoutCauses,
  waitingCauses,
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

/**
 * Why the objectives of a run were violated: what its broken requests lost, split into causes.
 * @param sends the rows of the run, in any order
 */
export function explainSends(sends: Iterable<Send>, input: ExplainInput): Explanation {
  const collector = new RequestCollector(input.document);
  for (const send of sends) collector.add(send);
  return explained(collector.found(), input);
}

/** The same for collected requests. */
export function explained(found: ExplainedRequests, input: ExplainInput): Explanation {
  const { against, requests, sent, objectives } = found;
  const broken = against === null ? [] : requests.filter(({ isBroken }) => isBroken);
  const evidence = new Evidence(against === null ? [] : requests);
  const parts = [
    ...(against === null ? [] : [...ownCauses(evidence, broken), ...failureCauses(evidence, broken)]),
    ...(evidence.broken.length < LEAST_BROKEN ? [] : targetCauses(evidence, broken.length, input)),
  ];
  const causes = parts.filter(({ share }) => share >= LEAST_SHARE).sort((a, b) => b.share - a.share);
  const rest = 1 - causes.reduce((sum, { share }) => sum + share, 0);
  const latencies = (places: readonly ExplainedRequest[]) =>
    percentileOf(
      places.flatMap(({ parts }) => (parts === null ? [] : [totalMs(parts)])),
      50,
    );
  return {
    against,
    objectives,
    requests: { sent, examined: requests.length, broken: broken.length },
    usualMs: latencies(evidence.fast.map((at) => requests[at]!)),
    brokenMs: latencies(broken),
    recordedMs: percentileOf(
      broken.flatMap(({ recordedMs }) => recordedMs ?? []),
      50,
    ),
    phases: phasesOf(broken),
    causes,
    unexplained: broken.length === 0 ? 0 : Math.max(0, Math.min(1, rest)),
    notes: notesOf(found, broken.length, input.document),
  };
}

/** Our lag, pauses and caps, and connecting: parts of the time that are known exactly. */
function ownCauses(evidence: Evidence, broken: readonly ExplainedRequest[]): Cause[] {
  const part = (kind: CauseKind, msOf: (parts: NonNullable<ExplainedRequest['parts']>) => number) => {
    const ms = evidence.requests.map(({ parts }) => (parts === null ? 0 : msOf(parts)));
    const of = (at: number) => Math.min(ms[at]!, evidence.lostMs[at]!);
    const sum = evidence.broken.reduce(
      (total, at) => total + of(at) / Math.max(evidence.lostMs[at]!, 1e-9),
      0,
    );
    const places = evidence.broken.filter((at) => of(at) >= LEAST_SHARE * evidence.lostMs[at]!);
    const figures = {
      medianMs: percentileOf(
        places.map((at) => ms[at]!),
        50,
      ),
      maxMs: Math.max(0, ...places.map((at) => ms[at]!)),
    };
    const named = {
      kind,
      subject: null,
      figures,
      exposed: (at: number) => of(at) > LEAST_SHARE * evidence.lostMs[at]!,
    };
    return causeOf(evidence, named, { share: sum / broken.length, places, causedMs: of });
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
function failureCauses(evidence: Evidence, broken: readonly ExplainedRequest[]): Cause[] {
  const { requests, timed } = evidence;
  const failed = [...requests.keys()].filter(
    (at) => requests[at]!.isBroken && requests[at]!.failure !== null,
  );
  const groups = Map.groupBy(failed, (at) =>
    CLOSED.has(requests[at]!.failure!) ? 'closed' : requests[at]!.failure!,
  );
  return [...groups.values()].map((places) => {
    const names = new Tally<string>();
    for (const at of places) names.count(requests[at]!.failure!);
    const [subject = ''] = [...names].sort((a, b) => b[1] - a[1])[0] ?? [];
    const isIn = new Set(places);
    const shareOf = (among: readonly number[], is: (at: number) => boolean) =>
      among.filter(is).length / among.length;
    const separates = (is: (at: number) => boolean) =>
      timed.length > 0 && shareOf(places, is) - shareOf(timed, is) >= LEAST_OF_GROUP;
    const crowd =
      percentileOf(
        places.map((at) => requests[at]!.inFlight),
        10,
      ) ?? 0;
    const isByCrowd = CLOSED.has(subject) && crowd > 0 && separates((at) => requests[at]!.inFlight >= crowd);
    const isOfConnections = CONNECTING.test(subject) || isByCrowd;
    const kind = OURS.has(subject) ? 'generator' : isOfConnections ? 'connecting' : 'refusals';
    const alike = GROUPS.flatMap((group) =>
      namesOf(requests, places, group)
        .filter((name) => separates((at) => requests[at]![group] === name))
        .map((name) => ({ kind: group, subject: name })),
    );
    const inFlight = (among: readonly number[]) =>
      percentileOf(
        among.map((at) => requests[at]!.inFlight),
        50,
      );
    const figures = {
      shareOfRequests: places.length / requests.length,
      foundInFlight: inFlight(places),
      othersFoundInFlight: inFlight(evidence.fast),
      ...(isByCrowd && { fromInFlight: crowd }),
    };
    const causedMs = (at: number) => Math.max(0, (requests[at]!.endMs ?? 0) - (requests[at]!.sentMs ?? 0));
    return causeOf(
      evidence,
      { kind, subject, figures, alike, exposed: (at) => isIn.has(at) },
      { share: places.length / broken.length, places, causedMs },
    );
  });
}

/** Causes in the target, the best first: each is taken away before the next one is searched. */
function targetCauses(evidence: Evidence, broken: number, { document, series = [] }: ExplainInput): Cause[] {
  const queue = fittedQueue(evidence);
  const causes: Cause[] = [];
  while (causes.length < MOST_CAUSES && evidence.slow.length >= LEAST_BROKEN) {
    const candidates = [
      ...stallCauses(evidence),
      ...faultCauses(evidence, document.faults),
      ...replicaCauses(evidence, series),
      ...resourceCauses(evidence, series),
      ...episodeCauses(evidence),
      ...groupCauses(evidence),
      ...sizeCauses(evidence),
      ...openingCause(evidence),
      ...waitingCauses(evidence, queue),
      ...fixedDelayCause(evidence),
      ...timeoutCauses(evidence),
    ]
      .filter(({ separation }) => separation >= LEAST_SEPARATION)
      .map((each) => ({ each, share: evidence.shareOf(each), score: 0 }))
      .map((of) => ({ ...of, score: of.share * of.each.separation * of.each.preference }))
      .filter(({ share }) => share >= LEAST_SHARE)
      .sort((a, b) => b.score - a.score);
    const [best] = candidates;
    if (best === undefined) break;
    const filling = best.each.kind === 'waiting' ? fillingOf(evidence, queue) : null;
    const chosen = filling ?? best.each;
    const alike = candidates
      .filter(({ each }) => each !== best.each && isAlike(best.each, each, evidence))
      .filter(({ share }) => share >= MOST_OF * best.share)
      .map(({ each: { kind, subject } }) => ({ kind, subject }));
    causes.push(causeInTarget(evidence, chosen, filling === null ? alike : [], broken));
    evidence.take(chosen);
  }
  return causes;
}

/** Another explanation of the same requests must explain this share of it. */
const MOST_OF = 0.5;

function fillingOf(evidence: Evidence, queue: FittedQueue | null): Candidate | null {
  return queue === null ? null : fillingCause(evidence, queue);
}

/**
 * A wait is the usual consequence of other causes, so it is no other explanation of them, unless they held all the
 * time.
 */
function isAlike(best: Candidate, other: Candidate, evidence: Evidence): boolean {
  if (best.kind === other.kind && best.subject === other.subject) return false;
  if (other.kind === 'waiting') return best.preference === CONSTANT_PREFERENCE;
  return best.kind !== 'waiting' && other.kind !== 'retries' && areAlike(best, other, evidence);
}

function causeInTarget(
  evidence: Evidence,
  chosen: Candidate,
  alike: readonly NamedCause[],
  broken: number,
): Cause {
  const { excessMs, lostMs } = evidence;
  const caused = Float64Array.from(excessMs, (ms, at) => Math.min(ms, chosen.explainedMs(at)));
  const places = evidence.broken.filter((at) => caused[at]! >= LEAST_SHARE * lostMs[at]! && caused[at]! > 0);
  return causeOf(
    evidence,
    { ...chosen, alike },
    {
      share: (evidence.shareOf(chosen) * evidence.broken.length) / broken,
      places,
      causedMs: (at) => caused[at]!,
    },
  );
}

function causeOf(
  evidence: Evidence,
  {
    kind,
    subject,
    figures,
    exposed,
    alike = [],
  }: Pick<Candidate, 'kind' | 'subject' | 'figures' | 'exposed'> & { readonly alike?: readonly NamedCause[] },
  {
    share,
    places,
    causedMs,
  }: {
    readonly share: number;
    readonly places: readonly number[];
    readonly causedMs: (at: number) => number;
  },
): Cause {
  const named = { kind, subject, figures, alike };
  return {
    ...{ kind, subject, share: Math.min(1, share), requests: places.length, figures, alike },
    proof: proofOf(evidence, exposed, places, causedMs),
    text: causeText(named),
    tryThis: triesOf(named),
  };
}

/** The clearest request with the cause, and the next one in time without it, of the same route and model if there is one. */
function proofOf(
  { requests, fast }: Evidence,
  exposed: (at: number) => boolean,
  places: readonly number[],
  causedMs: (at: number) => number,
): ProofRequest[] {
  const clearest = places.reduce<number | null>(
    (best, at) => (best === null || causedMs(at) > causedMs(best) ? at : best),
    null,
  );
  if (clearest === null) return [];
  const { route, model, plannedMs } = requests[clearest]!;
  const distance = (at: number) => {
    const other = requests[at]!;
    const isOther = Number(other.route !== route) + Number(other.model !== model);
    return isOther * 1e12 + Math.abs(other.plannedMs - plannedMs);
  };
  const others = fast.filter((at) => !exposed(at));
  const nearest = others.reduce<number | null>(
    (best, at) => (best === null || distance(at) < distance(best) ? at : best),
    null,
  );
  const shown = (at: number, affected: boolean): ProofRequest => {
    const { id, parts, inFlight } = requests[at]!;
    return {
      ...id,
      affected,
      ms: parts === null ? null : totalMs(parts),
      causedMs: affected ? causedMs(at) : 0,
      inFlight,
    };
  };
  return [shown(clearest, true), ...(nearest === null ? [] : [shown(nearest, false)])];
}

/** Shares of the time of broken requests, each with the same weight. */
function phasesOf(broken: readonly ExplainedRequest[]): Explanation['phases'] {
  const answered = broken.flatMap(({ parts }) => (parts === null || totalMs(parts) === 0 ? [] : [parts]));
  if (answered.length === 0) return null;
  const mean = (msOf: (parts: (typeof answered)[number]) => number) =>
    answered.reduce((sum, parts) => sum + Math.min(1, msOf(parts) / totalMs(parts)), 0) / answered.length;
  return {
    generator: mean(({ generatorMs }) => generatorMs),
    connecting: mean(({ connectMs }) => connectMs),
    firstByte: mean(({ firstMs }) => firstMs),
    rest: mean(({ targetMs, firstMs }) => targetMs - firstMs),
  };
}

function notesOf(found: ExplainedRequests, broken: number, { slo }: ReplayDocument): string[] {
  const { against, requests, sent } = found;
  const isFew = against !== null && broken < LEAST_BROKEN;
  const isOfRun = found.objectives.length === 0 && slo.some(({ ok }) => ok === false);
  return [
    ...(isFew ? [`Only ${broken} requests broke an objective: too few to find a cause of their times.`] : []),
    ...(requests.length < sent
      ? [
          `Only ${requests.length} of ${sent} requests were examined: those in a row with the most broken ones.`,
        ]
      : []),
    ...(isOfRun
      ? ['A violated objective is on the run as a whole, so no request can be named that broke it.']
      : []),
  ];
}
