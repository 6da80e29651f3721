import type { RecordedTraffic, RecorderStatus } from '../core/status.ts';
import { type Endpoint, formatEndpoint } from './endpoint.ts';
import { NO_TRAFFIC, sumOfTraffic } from './exchange-monitor.ts';
import type { ForwarderKeeper } from './forwarder-keeper.ts';
import type { GatewayRoute } from './http/options.ts';
import type { ForwardersReading } from './ledger-history.ts';
import type { ForwarderOptions, RecorderBeat } from './messages.ts';
import type { RecordingState } from './recording-state.ts';

/** What the recorders of a recording said of themselves, over their lives. */
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
  readonly options: ForwarderOptions;
  /** Once they are known, the addresses that were bound. */
  readonly bound: readonly Endpoint[];
  readonly state: RecordingState;
  readonly paused: boolean;
  readonly draining: boolean;
  readonly startedUs: number;
  readonly atUs: number;
  readonly supervisorPid: number;
  readonly forwarders: readonly ForwarderKeeper[];
  readonly recorder: {
    readonly pid: number | null;
    readonly restarts: number;
    readonly residentBytes: number | null;
  };
  readonly reading: ForwardersReading;
  readonly recorders: RecorderReadings;
  /** The directory that was asked for, until a recorder knows which one it is. */
  readonly directory: string;
}

export function statusOf(parts: StatusParts): RecorderStatus {
  const { options, forwarders, recorder, recorders, reading, draining } = parts;
  const { ledger } = reading;
  return {
    schema: 'reprise-status/1',
    version: parts.version,
    mode: options.mode,
    ...stateOf(parts),
    paused: parts.paused,
    draining,
    ready: !draining && forwarders.some((forwarder) => forwarder.listening),
    startedUs: parts.startedUs,
    atUs: parts.atUs,
    pairs: options.pairs.map((pair, index) => ({
      listen: formatEndpoint(parts.bound[index] ?? pair.listen),
      target: formatEndpoint(pair.target),
    })),
    routes: options.mode === 'gateway' ? options.routes.map(routeText) : [],
    forwarders: forwarders.length,
    pids: {
      supervisor: parts.supervisorPid,
      forwarders: forwarders.map((forwarder) => forwarder.process?.pid ?? null),
      recorder: recorder.pid,
    },
    restarts: {
      forwarder: forwarders.reduce((sum, forwarder) => sum + forwarder.restarts, 0),
      recorder: recorder.restarts,
    },
    connections: {
      open: reading.open,
      seen: ledger.connections,
      turnedAway: reading.turnedAway,
      failed: reading.failed,
      refused: reading.refused,
    },
    seen: ledger.seen,
    recorded: ledger.recorded,
    lost: ledger.lost,
    omitted: ledger.omitted,
    pending: ledger.pending,
    exchanges: ledger.exchanges,
    bodiesCut: recorders.bodiesCut,
    queuedBytes: reading.queuedBytes,
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
