import type { Reason, ReasonCode } from '../findings.ts';

/** What a reason means for whoever decides, and what to do next. */
export interface Advice {
  readonly title: string;
  readonly means: string;
  readonly next: string;
}

/** A reason of the run with what the report has to say of it. */
export interface AdvisedReason extends Advice {
  readonly code: string;
  /** What was found in this run. */
  readonly text: string;
  /** What the run itself advised. */
  readonly advice: string;
}

/** Reasons that only a report can have. */
export type ReportReasonCode = 'not_sealed' | 'rows_differ';

/** One entry for each reason a judgement can give, and each that a report adds. */
export const ADVICE: Readonly<Record<ReasonCode | ReportReasonCode, Advice>> = {
  slo_violated: {
    title: 'An objective was violated',
    means: 'At this load the target does not keep what was promised.',
    next: 'See below at which time, on which route and at which input size latency rises; then give the target more capacity, or replay a smaller multiplier to find the load it keeps.',
  },
  interrupted: {
    title: 'The run did not reach its end',
    means: 'The busiest part of the window may not have been sent, so a pass would be luck.',
    next: 'If a guard stopped it, its cause stands under errors by kind: mend that before the next run.',
  },
  nothing_planned: {
    title: 'Nothing was planned',
    means: 'The target was under no load, so the run says nothing of it.',
    next: 'See skipped and unreplayable under counts and the scaling of the plan; of a shard that had nothing to send, see the merged run.',
  },
  achieved_below: {
    title: 'Less was sent than was planned',
    means: 'The target was under less load than the report names.',
    next: 'See refused and unreached under counts: refused is a cap (--max-in-flight, --max-rate, --max-requests), unreached a run that was cut short.',
  },
  lag_over_bound: {
    title: 'The generator was late',
    means:
      'Scheduled latency holds time that was ours and not the target’s; service latency is the one to read here.',
    next: 'Run reprise selftest on the sending machine to see which rate it keeps, then split the load with --shard or use a larger machine.',
  },
  sender_busy: {
    title: 'A sender thread had no time left',
    means: 'What was measured may be the sending machine’s limit, not the target’s.',
    next: 'Raise --senders where there are idle cores; else split the load with --shard.',
  },
  cpu_throttled: {
    title: 'The sending side was held back',
    means: 'Pauses of the CPU quota look like latency of the target.',
    next: 'Set the CPU limit to at least the threads the replay uses, or none, and run it again.',
  },
  stalled: {
    title: 'The generator stood still, or caught up after it',
    means:
      'Until it had caught up, what was due was sent late and bunched; the percentiles leave that part out.',
    next: 'Look for neighbours on the host, swapping or a suspended virtual machine at the times shown under schedule lag.',
  },
  arrivals_off_plan: {
    title: 'What was sent is not as bursty as planned',
    means: 'Queues are made by bursts: with others the latency is that of other traffic.',
    next: 'Compare planned and sent under fidelity: more burst than planned comes from catching up after lateness, less from caps.',
  },
  in_flight_cap: {
    title: 'Our own cap refused requests',
    means: 'Requests that production would have sent were not; each counts against the objectives.',
    next: 'If in-flight requests climb without end the target is over its limit and the cap only shows it: replay less. Else raise --max-in-flight.',
  },
  shards_missing: {
    title: 'Runs of shards are missing',
    means: 'Only a part of the load is in this report.',
    next: 'Find the missing runs on their hosts and merge again; no figure of the others can stand for them.',
  },
  shards_apart: {
    title: 'The shards did not start together',
    means: 'The peaks of the plan were spread out, which makes the test easier than it says.',
    next: 'Keep the clocks of the hosts by NTP or PTP and give --start-at far enough ahead that every shard is ready.',
  },
  streams_unread: {
    title: 'Streams could not be read',
    means:
      'Over 1 % of the streams came under a content coding, so when their tokens came is not known, and objectives of streams say nothing of them.',
    next: 'Send no Accept-Encoding: `--remove-header accept-encoding`.',
  },
  answers_unchecked: {
    title: 'Too few answers could be compared',
    means:
      'Too many answers could not be held against the recorded ones, so nobody knows whether they differ.',
    next: 'Record response bodies (--bodies all), or compare by what was recorded: --check status.',
  },
  too_few_samples: {
    title: 'Too few answers for the percentile',
    means: 'A tail that was not sampled cannot be promised.',
    next: 'The samples each percentile needs stand beside the latency distribution; choose the window or the objective by them.',
  },
  coverage_unexplained: {
    title: 'The recording lost traffic',
    means: 'Production was busier than the capture says, by an unknown amount and perhaps at its peaks.',
    next: 'Raise the recorder’s memory or disk quota, whichever inspect names as the cause, and record again.',
  },
  multiplier_not_reached: {
    title: 'The load falls short of the multiplier',
    means: 'The load is that of the effective multiplier, and a pass holds for that one only.',
    next: 'Where requests are missing from the plan, ask for a higher multiplier to make up for them, or record whole bodies so that more can be replayed.',
  },
  connection_wait: {
    title: 'Requests waited for their recorded connections',
    means:
      'A connection carries one request at a time, so a slow target was sent less, and later, than was planned. A pass would hold for that load only.',
    next: 'For the planned load, replay with `--connections pooled`. Where clients must not open more connections than they did, this is what they would see: judge the service latency, and a multiplier at which hardly any of them wait.',
  },
  not_comparable: {
    title: 'The answers are of another kind than recorded',
    means:
      'Refusals are cheap to serve: latency of a target that turns requests away, by a 4xx or a redirect, says nothing, and no more does that of one that fails. Without recorded statuses every one of them is taken for a refusal that production did not give.',
    next: 'Compare the statuses below; once they agree, replay again.',
  },
  staging_not_representative: {
    title: 'The target is not like production',
    means: 'Even at recorded speed it answers otherwise, so its capacity is not production’s.',
    next: 'See the calibration below: a faster median hints at a cache or a smaller model, a slower one at fewer or weaker replicas (see --target-share).',
  },
  violated_by_our_lag: {
    title: 'Violated, perhaps by our own lateness',
    means: 'It speaks neither against the target nor for it.',
    next: 'Compare scheduled and service latency below: where only the scheduled one is high, the time was lost on our side. Where both are, answers may have been read late: see lag and standstills, and replay from idle cores.',
  },
  partly_open: {
    title: 'Sessions waited for the target',
    means:
      'Follow-ups waited for the answer before them, so a slower target was offered less. The figures are no capacity for an open load.',
    next: 'For a capacity, replay with `--session-order open`.',
  },
  turned_away: {
    title: 'A few requests were turned away',
    means:
      'Too few to doubt the comparison. Their quick answers are among the latencies, and nothing says that production gave them.',
    next: 'Find them by their status in table send of `run.sqlite`: long prompts that are refused would have been the slow ones.',
  },
  uncalibrated: {
    title: 'Not calibrated',
    means:
      'Nobody tested that the target answers as production did: a cache or an error page passes every objective.',
    next: 'Until it is, compare recorded and replayed latency and statuses below by eye.',
  },
  unknown: {
    title: 'Something could not be measured',
    means: 'What is not known counts neither for nor against the run.',
    next: 'Find out why it is missing where the decision rests on it.',
  },
  left_out: {
    title: 'Requests were left out of the percentiles',
    means: 'They were due or answered while the generator stood still, and their times are not the target’s.',
    next: 'A small share does no harm; for a large one see why the generator stalled.',
  },
  warmup_short: {
    title: 'The warm-up was shorter than asked for',
    means: 'The first answers may be those of cold caches and empty pools.',
    next: 'See whether latency is higher in the first steps over time than later.',
  },
  not_sealed: {
    title: 'The run never came to its end',
    means:
      'It is still going on, or its process was killed; there is no verdict and there are no facts of the plan.',
    next: 'What follows is counted from the rows that were written. Replay again for a verdict.',
  },
  rows_differ: {
    title: 'Rows and summary do not agree',
    means:
      'The files of this run were changed or damaged after it ended, so that its figures cannot be relied on.',
    next: 'Restore the directory from where it was kept, or replay again.',
  },
};

/** A reason as the run gave it, with the report’s words; those of a later version stand as they are. */
export function advised({
  code,
  text,
  advice,
}: Reason | (Omit<Reason, 'code'> & { code: string })): AdvisedReason {
  const known = Object.hasOwn(ADVICE, code) ? ADVICE[code as ReasonCode] : null;
  return { code, text, advice, ...(known ?? { title: code, means: '', next: '' }) };
}

/** What a report says of a run besides what the run says of itself. */
export function reportReason(code: ReportReasonCode, text: string): AdvisedReason {
  return { code, text, advice: '', ...ADVICE[code] };
}

/** Reasons of one kind, such as two violated objectives, ask for one thing: it is said with the first of them. */
export function withoutRepeats(reasons: readonly AdvisedReason[]): AdvisedReason[] {
  const said = new Set<string>();
  return reasons.map((reason) => {
    if (said.has(reason.code)) return { ...reason, means: '', advice: '', next: '' };
    said.add(reason.code);
    return reason;
  });
}
