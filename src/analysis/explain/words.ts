import { countOf, formatBytes, formatMs } from '../../core/units.ts';
import type { Cause, CauseFigures, CauseKind, NamedCause } from '../../documents/explanation.ts';
import { numberText } from '../render/table.ts';
import { failureAdvice, failureWords } from '../verdict/advice.ts';

type Described = Pick<Cause, 'kind' | 'subject' | 'figures' | 'alike'>;

/** How a cause is told, and one thing to try. */
interface Words {
  readonly text: (cause: Described) => string;
  readonly tryThis: string | ((cause: Described) => string);
}

const seconds = (value: CauseFigures[string] | undefined) =>
  typeof value === 'number' ? formatMs(value * 1e3) : 'an unknown time';
const ms = (value: CauseFigures[string] | undefined) =>
  typeof value === 'number' ? formatMs(value) : 'unknown';
const number = (value: CauseFigures[string] | undefined) =>
  typeof value === 'number' ? numberText(value) : '–';
const every = ({ everyMs }: CauseFigures) => (everyMs == null ? '' : `, every ${ms(everyMs)}`);
const medians = ({ figures }: Described) =>
  `median ${ms(figures['medianMs'])}, others ${ms(figures['othersMedianMs'])}`;

/** Requests that are slow themselves, hold all others up, or fill the queue in which all wait. */
const slowOrFilling = (what: string, cause: Described) =>
  cause.figures['heldUp'] !== undefined
    ? `${what} hold up all others until their own first token or end, ${number(cause.figures['heldUp'])} of them for too long: ${medians(cause)}`
    : cause.figures['waitingGone'] === undefined
      ? `${what} are slow: ${medians(cause)}`
      : `the work of ${what} fills the queue: ${number(cause.figures['timesWork'])} times the work of others (recorded: ${number(cause.figures['recordedTimesWork'])} times)`;

const ofGroup = (what: string): Words => ({
  text: (cause) => slowOrFilling(`requests of the ${what} ${cause.subject}`, cause),
  tryThis: ({ subject }) =>
    `See what ${subject} does for longer than the others, and give it its own workers.`,
});

const ofResource = (what: string, tryThis: string): Words => ({
  text: ({ subject, figures }) =>
    `${what}: ${subject} reached ${number(figures['max'])} while requests were slow`,
  tryThis,
});

const WORDS: Readonly<Record<CauseKind, Words>> = {
  generator: {
    text: ({ subject, figures }) =>
      subject === null
        ? `the load generator was late or paused: median ${ms(figures['medianMs'])}, at most ${ms(figures['maxMs'])}`
        : 'requests were not sent: our own caps refused them, or this host had no socket',
    tryThis: ({ subject }) =>
      subject === null
        ? 'Run the replay on cores that nothing else uses, or without a CPU limit.'
        : 'Raise --max-in-flight and --max-rate, or replay a smaller multiplier.',
  },
  connecting: {
    text: ({ subject, figures }) => {
      if (subject === null) return `opening or waiting for a connection: median ${ms(figures['medianMs'])}`;
      const { fromInFlight: crowd, othersMedianMs } = figures;
      if (othersMedianMs !== undefined)
        return `requests on ${subject} are answered late: median ${ms(figures['medianMs'])}, others ${ms(othersMedianMs)}`;
      return crowd === undefined
        ? `no connection came about: ${failureWords(subject)}`
        : `connections were closed where ${number(crowd)} or more requests were in flight: ${failureWords(subject)}`;
    },
    tryThis: 'Raise the limit on connections, or the backlog, of the target and of the proxies before it.',
  },
  refusals: {
    text: ({ subject }) => `no answer: ${failureWords((subject ?? '').replace('status_', ''))}`,
    tryThis: ({ subject }) =>
      failureAdvice({
        failed: 1,
        sent: 1,
        commonest: (subject ?? '').replace('status_', ''),
        answered: true,
      }),
  },
  stalls: {
    text: ({ figures }) =>
      `the target stopped answering ${countOf(Number(figures['stalls']), 'time')}, for ${ms(figures['medianMs'])} each${every(figures)}`,
    tryThis:
      'Compare these times with garbage collection, checkpoints, timers and CPU throttling of the target.',
  },
  dependency: {
    text: ({ subject, figures }) =>
      figures['fault'] === undefined
        ? `a dependency was slow: ${subject} reached ${number(figures['max'])}`
        : `requests that met the fault ${subject} (${figures['fault']} of ${figures['proxy']}) were slow`,
    tryThis: 'Give calls to this dependency a short time-out and a fallback, or a cache.',
  },
  replicas: {
    text: ({ figures }) =>
      `replicas were missing: ${number(figures['leastReady'])} of ${number(figures['mostDesired'] ?? figures['mostReady'])} were ready${figures['readyS'] === null ? '' : `, all only after ${seconds(figures['readyS'])}`}`,
    tryThis: 'Scale earlier or keep more replicas: a lower target of the autoscaler, or a higher minimum.',
  },
  cold_start: {
    text: ({ subject, figures }) =>
      `${subject ?? 'the target'} was slow until ${seconds(figures['toS'])}, then not any more at the same load`,
    tryThis: 'Warm the target up before it gets traffic, or replay with --warmup if production is warm.',
  },
  episode: {
    text: ({ subject, figures }) =>
      `${subject ?? 'everything'} was slow${figures['periods'] === 1 ? '' : `, ${number(figures['periods'])} times`} from ${seconds(figures['fromS'])} to ${seconds(figures['toS'])}${every(figures)}, without more load`,
    tryThis: 'See what the log of the target, its neighbours and its dependencies report for that time.',
  },
  route: ofGroup('route'),
  model: ofGroup('model'),
  client: ofGroup('client'),
  size: {
    text: (cause) => {
      const { subject, figures } = cause;
      const from = figures['fromBytes'];
      const size = typeof from === 'number' ? formatBytes(from) : `${number(figures['fromTokens'])} tokens`;
      return slowOrFilling(`requests with a ${subject} of ${size} or more`, cause);
    },
    tryThis: ({ figures }) =>
      figures['heldUp'] === undefined
        ? 'Limit or split such requests, or give them their own replicas.'
        : 'Let the target read them in parts, between the tokens of others (for vLLM: --enable-chunked-prefill), or give them their own replicas.',
  },
  retries: {
    text: ({ figures }) =>
      `slow answers are late by ${ms(figures['delayMs'])} or a multiple of it, others not at all`,
    tryThis:
      'Look for a time-out of that length in the target and its dependencies, and for what it then tries again.',
  },
  cpu: ofResource(
    'the CPU of the target is at its limit',
    'Raise the CPU limit of the target, or add replicas.',
  ),
  gpu: ofResource('the GPU is at its limit', 'Add replicas, or a larger batch if memory allows.'),
  memory: ofResource(
    'the memory of the target is nearly full',
    'Raise its memory, or limit what it holds at one time.',
  ),
  kv_cache: ofResource(
    'the KV cache is full',
    'Give the KV cache more memory, limit sequences or their length, or add replicas.',
  ),
  waiting: {
    text: ({ subject, figures }) => {
      const { fewestInFlight, mostInFlight, timesSlower, aloneTokenMs, crowdedTokenMs, executors } = figures;
      const others = (count: typeof mostInFlight) => `with ${number(count)} others in flight`;
      if (aloneTokenMs !== undefined)
        return `tokens come more slowly when more requests are decoded together: one every ${ms(aloneTokenMs)} ${others(fewestInFlight)}, one every ${ms(crowdedTokenMs)} ${others(mostInFlight)}`;
      if (timesSlower !== undefined)
        return `requests are served together, each slower the more there are: ${number(timesSlower)} times as long ${others(mostInFlight)} as ${others(fewestInFlight)}`;
      const served = typeof executors === 'number' ? `; it serves about ${executors} at a time` : '';
      if (subject !== null)
        return `requests wait for others of the ${subject}: ${number(figures['foundInFlight'])} in flight before slow ones (median), ${number(figures['othersFoundInFlight'])} before others`;
      return `requests wait for others in the target: ${number(figures['meanInFlight'])} in flight at ${number(figures['ratePerSecond'])}/s, each for ${ms(figures['meanMs'])}${served}`;
    },
    tryThis: ({ subject, figures }) =>
      figures['aloneTokenMs'] === undefined
        ? subject === null
          ? 'Give the target more workers, connections or replicas, or less load per replica.'
          : `Raise what the target allows the ${subject} at a time, or spread its requests.`
        : 'Add replicas, or limit how many requests the target decodes together (for vLLM: --max-num-seqs).',
  },
};

export function causeText(cause: Described): string {
  const alike = cause.alike.map(causeName).join(', ');
  return `${WORDS[cause.kind].text(cause)}${alike === '' ? '' : `. This run cannot tell it from: ${alike}`}`;
}

export function triesOf(cause: Described): string {
  const { tryThis } = WORDS[cause.kind];
  return typeof tryThis === 'string' ? tryThis : tryThis(cause);
}

const NAMES: Partial<Readonly<Record<CauseKind, string>>> = { cpu: 'CPU', gpu: 'GPU', kv_cache: 'KV cache' };

/** `route POST /v1/chat`, `waiting`. */
export function causeName({ kind, subject }: NamedCause): string {
  if (kind === 'waiting' && subject !== null) return `waiting for ${subject}`;
  return `${NAMES[kind] ?? kind.replaceAll('_', ' ')}${subject === null ? '' : ` ${subject}`}`;
}
