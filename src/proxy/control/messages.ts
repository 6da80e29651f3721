import type {
  LifeAccount,
  LossReason,
  MirrorReading,
  Progress,
  RecentExchange,
  RecordedTraffic,
} from '../../core/accounting.ts';
import type { DiskEstimate } from '../../core/disk-estimate.ts';
import type { Notice } from '../../core/ports.ts';
import type { GatewayOptions } from '../http/options.ts';
import type { WireOptions } from '../tcp/tcp-proxy.ts';

/** Which plane forwards, and all it is asked to do; plain data. */
export type PlaneOptions =
  | ({ readonly mode: 'wire' } & WireOptions)
  | ({ readonly mode: 'gateway' } & GatewayOptions);

/** What the proxy says to its recorder over Node's own channel. */
export type ToRecorder<Settings> =
  /**
   * Opens the capture and reads the pipe. `keepsWorkMark`: it leaves word of the connection that it is at work on, because
   * its predecessor may have died of one.
   */
  | {
      readonly type: 'start';
      readonly settings: Settings;
      readonly keepsWorkMark: boolean;
      readonly account: LifeAccount;
      /** What recorders before it have counted of this recording; null where there was none. */
      readonly earlier: EarlierCounts | null;
    }
  /** The account of the recording by now, to be written with the next commit. */
  | { readonly type: 'account'; readonly account: LifeAccount }
  /** Commit with this account, close the segment, seal it and end. What is still open is lost for that reason. */
  | {
      readonly type: 'stop';
      readonly account: LifeAccount;
      readonly because: LossReason;
      /** Sealed segments go to the command of `--on-seal` first. */
      readonly ships: boolean;
    };

export type RecorderOrder<Settings, Type> = Extract<ToRecorder<Settings>, { type: Type }>;

/** How a recorder fares, all of one instant. */
export interface RecorderBeat {
  readonly rssBytes: number;
  readonly shedding: LossReason | null;
  /** How often the memory for assembly was spent. */
  readonly bodiesCut: number;
  readonly store: StoreReading | null;
  readonly traffic: RecordedTraffic;
  readonly recent: readonly RecentExchange[];
  /** Null without a mirror. */
  readonly mirror: MirrorReading | null;
}

/** Counts that go on over the recorders of a recording. */
type EarlierCounts = Pick<RecorderBeat, 'traffic' | 'bodiesCut' | 'mirror'>;

export interface StoreReading {
  readonly bytes: number;
  readonly freeBytes: number;
}

export type FromRecorder =
  | {
      readonly type: 'ready';
      /** Whether the capture held nothing yet. */
      readonly isNew: boolean;
      readonly directory: string;
      readonly maxDiskBytes: number;
      /** What the capture holds of this recording, by recorders before. */
      readonly progress: Progress;
    }
  /** The sink cannot be had; the process ends. */
  | {
      readonly type: 'fault';
      readonly message: string;
      readonly hint: string | null;
    }
  | { readonly type: 'beat'; readonly beat: RecorderBeat }
  /** It made its first commit; said at once, because a death before it is judged differently. */
  | { readonly type: 'committed' }
  /** What the traffic so far says of the disk. */
  | { readonly type: 'estimate'; readonly estimate: DiskEstimate }
  | { readonly type: 'notice'; readonly notice: Notice }
  /** All is committed and the capture closed. What is left is sealing. */
  | { readonly type: 'closed' };
