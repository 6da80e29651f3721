import { listed } from '../../core/text.ts';
import { countOf, percent } from '../../core/units.ts';
import {
  type Failures,
  failureAdvice,
  failureWords,
  followsRecordedTimes,
  statusAdvice,
  statusWords,
} from './advice.ts';

/** A way in which the target's answers differ from the recorded ones. */
export type Incomparable =
  | (TurnedAway & { readonly kind: 'turned_away' })
  | { readonly kind: 'statuses'; readonly share: number }
  | (Failures & { readonly kind: 'failures'; readonly recorded: number | null })
  | { readonly kind: 'unserved'; readonly requests: number; readonly violated: readonly string[] }
  | {
      readonly kind: 'streams';
      readonly turnedAway: number;
      readonly whole: number;
      readonly violated: readonly string[];
    }
  /** Contents of answers, as `--check` compared them. */
  | { readonly kind: 'mismatches'; readonly mismatched: number; readonly checked: number }
  /** Differences by route, with both figures. */
  | { readonly kind: 'answers'; readonly differences: readonly string[] };

/** Shares of the sent and of the recorded requests; null if unknown. */
export interface TurnedAway {
  readonly share: number;
  readonly recorded: number | null;
  /** The most frequent of these statuses. */
  readonly status: string | null;
}

export function turnedAwayText({ share, recorded, status }: TurnedAway): string {
  const most = status === null ? '' : `, most often with ${statusWords(status)}`;
  return `the target turned away ${percent(share)} of the requests (no 2xx, below 500)${most}; in production ${shareOrUnknown(recorded)}`;
}

function shareOrUnknown(share: number | null): string {
  return share === null ? 'unknown' : percent(share);
}

export function incomparableText(facts: Incomparable): string {
  switch (facts.kind) {
    case 'turned_away':
      return turnedAwayText(facts);
    case 'statuses':
      return `${percent(facts.share)} of the answers have another status than the recorded ones`;
    case 'failures':
      return `${percent(facts.failed / facts.sent)} of the requests failed (5xx, or no answer), most often with ${failureWords(facts.commonest)}; in production ${shareOrUnknown(facts.recorded)}`;
    case 'unserved':
      return `the target turned away ${countOf(facts.requests, 'request')}, or answered whole instead of by a stream; only these violate ${facts.violated.join('; ')}`;
    case 'streams': {
      const ways = [
        { requests: facts.turnedAway, how: 'turned away' },
        { requests: facts.whole, how: 'answered whole' },
      ].filter(({ requests }) => requests > 0);
      const missing = ways.map(({ requests, how }) => `${how} ${countOf(requests, 'request')}`).join(' and ');
      return `instead of a stream the target ${missing}; only these violate ${facts.violated.join('; ')}`;
    }
    case 'mismatches':
      return `${facts.mismatched} of ${countOf(facts.checked, 'compared answer')} (${percent(facts.mismatched / facts.checked)}) differ from the recorded ones`;
    case 'answers':
      return listed(facts.differences);
  }
}

export function incomparableAdvice(facts: Incomparable): string {
  switch (facts.kind) {
    case 'turned_away':
      return statusAdvice(facts.status);
    case 'statuses':
      return statusAdvice(null);
    case 'failures':
      return `${failureAdvice(facts)} If so much may fail, say so: --slo 'errors: rate<0.1'.`;
    case 'streams':
    case 'unserved':
      return 'See by which statuses and types: the target must serve what production served.';
    case 'mismatches':
      return "See them by kind: reprise report RUN. Leave out what may vary with --check ignore=POINTER, or set your own limit: --slo 'mismatch: rate<0.1'.";
    case 'answers':
      return 'Look at some answers of these routes: the target must do the work that production did. If the build answers otherwise on purpose, record it again.';
  }
}

/** Why a target was not compared with the recording first. */
export interface Uncalibrated {
  readonly why: 'not_asked' | 'no_latency' | 'few_pairs';
  readonly pairs: number;
}

export function uncalibratedText({ why, pairs }: Uncalibrated): string {
  const because = {
    not_asked: 'whether it answers as production did was not tested',
    no_latency: 'the recording has no latency to hold it against',
    few_pairs: `too few of the recorded answers could be compared: ${pairs}`,
  }[why];
  return `the target was not compared with the recording at 1x first: ${because}`;
}

/** Shares of prompt tokens that came from a cache, of requests for which both servers report them. */
export interface UnlikeHits {
  readonly recorded: number;
  readonly sent: number;
  readonly answers: number;
  /** The objectives on first tokens. */
  readonly decides: readonly string[];
  readonly scaling?: string | undefined;
}

export function unlikeHitsText({ recorded, sent, answers }: UnlikeHits): string {
  return `${percent(sent)} of the prompt tokens came from the cache, and ${percent(recorded)} when recorded (${countOf(answers, 'answer')})`;
}

export function unlikeHitsAdvice({ recorded, sent, scaling }: UnlikeHits): string {
  if (sent < recorded)
    return `${followsRecordedTimes(scaling) ? 'Give --warmup 10m, which fills the cache with what came before the window. ' : ''}See that the target has the memory for its cache that production has, and keeps a session on one replica.`;
  return 'Empty the cache of the target before each run. Give a longer window instead of --loop, and no --scaling copy-prompts=same.';
}
