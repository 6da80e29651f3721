import type { RecordedTraffic, RecorderStatus } from '../../core/accounting.ts';
import type { Logger } from '../../core/ports.ts';
import type { ConnectionCounts } from '../data-plane.ts';
import type { GatewayRoute } from '../http/options.ts';
import { type Endpoint, formatEndpoint } from '../net/endpoint.ts';
import { NO_TRAFFIC, sumOfTraffic } from '../recorder/exchange-monitor.ts';
import type { CountersReading } from '../tap/counters.ts';
import type { PlaneOptions, RecorderBeat } from './messages.ts';

/** HEALTHY: recorded. SHEDDING: traffic flows, some is lost and counted. OFF: traffic flows, nothing is recorded. */
type StateName = 'HEALTHY' | 'SHEDDING' | 'OFF';

/** How recording fares. Each change is one line in the log; what repeats is not said again. */
export class RecordingState {
  readonly #logger: Logger;
  /** Null until the first recorder said how it fares. */
  #name: StateName | null = null;
  #why: string | null = null;
  #onWord: () => void = () => undefined;

  constructor(logger: Logger) {
    this.#logger = logger;
  }

  /** Until anybody knows better, nothing is recorded. */
  get name(): StateName {
    return this.#name ?? 'OFF';
  }

  /** Null if it is healthy or its state is unknown. */
  get why(): string | null {
    return this.#why;
  }

  /** Resolves when the next word on it is said, or after so many milliseconds without one. */
  nextWord(limitMs: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, limitMs);
      this.#onWord = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  healthy(): void {
    this.#become('HEALTHY', null, 'recording');
  }

  shedding(why: string, message = 'traffic flows, recording sheds', fields: object = {}): void {
    this.#become('SHEDDING', why, message, { reason: why, ...fields });
  }

  off(why: string, message: string, fields: object = {}): void {
    this.#become('OFF', why, message, fields);
  }

  #become(name: StateName, why: string | null, message: string, fields: object = {}): void {
    const changed = name !== this.#name;
    this.#name = name;
    this.#why = why;
    this.#onWord();
    if (changed) this.#logger[name === 'HEALTHY' ? 'info' : 'error']({ state: name, ...fields }, message);
  }
}

/** What the recorders of a recording reported, over their lives. */
export class RecorderReadings {
  #past: { readonly traffic: RecordedTraffic; readonly bodiesCut: number } = {
    traffic: NO_TRAFFIC,
    bodiesCut: 0,
  };
  #current: RecorderBeat | null = null;
  /** Kept when a recorder ends: the files are still there. */
  #last: RecorderBeat | null = null;
  directory: string | null = null;
  maxDiskBytes: number | null = null;

  update(beat: RecorderBeat): void {
    this.#current = beat;
    this.#last = beat;
  }

  recorderEnded(): void {
    this.#past = { traffic: this.traffic, bodiesCut: this.bodiesCut };
    this.#current = null;
  }

  get traffic(): RecordedTraffic {
    return this.#current ? sumOfTraffic(this.#past.traffic, this.#current.traffic) : this.#past.traffic;
  }

  get bodiesCut(): number {
    return this.#past.bodiesCut + (this.#current?.bodiesCut ?? 0);
  }

  /** Of the running one, or the one before. */
  get last(): RecorderBeat | null {
    return this.#last;
  }
}

/** All a status is made of. */
interface StatusParts {
  readonly version: string;
  readonly options: PlaneOptions;
  /** Once they are known, the addresses that were bound. */
  readonly bound: readonly Endpoint[];
  readonly state: RecordingState;
  readonly paused: boolean;
  readonly draining: boolean;
  readonly listening: boolean;
  readonly startedUs: number;
  readonly atUs: number;
  readonly proxyPid: number;
  readonly recorder: {
    readonly pid: number | null;
    readonly restarts: number;
    readonly residentBytes: number | null;
  };
  readonly account: CountersReading;
  readonly connections: ConnectionCounts;
  /** Memory held for what waits for the recorder. */
  readonly queuedBytes: number;
  readonly recorders: RecorderReadings;
  /** The directory that was asked for, until a recorder knows which one it is. */
  readonly directory: string;
}

export function statusOf(parts: StatusParts): RecorderStatus {
  const { options, recorder, recorders, account, connections, draining } = parts;
  return {
    schema: 'reprise-status/1',
    version: parts.version,
    mode: options.mode,
    ...stateOf(parts),
    paused: parts.paused,
    draining,
    ready: !draining && parts.listening,
    startedUs: parts.startedUs,
    atUs: parts.atUs,
    pairs: options.pairs.map((pair, index) => ({
      listen: formatEndpoint(parts.bound[index] ?? pair.listen),
      target: formatEndpoint(pair.target),
    })),
    routes: options.mode === 'gateway' ? options.routes.map(routeText) : [],
    pids: { proxy: parts.proxyPid, recorder: recorder.pid },
    restarts: { recorder: recorder.restarts },
    connections: {
      open: connections.open,
      seen: account.connections,
      turnedAway: connections.turnedAway,
      failed: connections.failed ?? {},
      refused: connections.refused ?? {},
    },
    seen: account.seen,
    recorded: account.recorded,
    lost: account.lost,
    omitted: account.omitted,
    pending: account.pending,
    exchanges: account.exchanges,
    bodiesCut: recorders.bodiesCut,
    queuedBytes: parts.queuedBytes,
    recorderResidentBytes: recorder.residentBytes,
    disk: {
      directory: recorders.directory ?? parts.directory,
      bytes: recorders.last?.store?.bytes ?? null,
      maxBytes: recorders.maxDiskBytes,
      freeBytes: recorders.last?.store?.freeBytes ?? null,
    },
    traffic: recorders.traffic,
    recent: recorders.last?.recent ?? [],
  };
}

function routeText({ match, path, target }: GatewayRoute): RecorderStatus['routes'][number] {
  return { path: match === 'prefix' ? `${path}*` : path, target: formatEndpoint(target) };
}

/** At the end the recorder goes first, with all recorded: healthy, but nothing is recorded any more. */
function stateOf({ state, draining, recorder }: StatusParts): Pick<RecorderStatus, 'state' | 'why'> {
  const hasEnded = draining && recorder.pid === null && state.name === 'HEALTHY';
  return hasEnded ? { state: 'OFF', why: 'ended' } : { state: state.name, why: state.why };
}
