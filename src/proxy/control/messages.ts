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

/** The plane that forwards, and its options; plain data. */
export type PlaneOptions =
  | ({ readonly mode: 'wire' } & WireOptions)
  | ({ readonly mode: 'gateway' } & GatewayOptions);

/** What the proxy says to its recorder over Node's own channel. */
export type ToRecorder<Settings> =
  /**
   * Opens the capture and reads the pipe. `keepsWorkMark`: it notes the connection that it works on, because one may
   * have killed its predecessor.
   */
  | {
      readonly type: 'start';
      readonly settings: Settings;
      readonly keepsWorkMark: boolean;
      readonly account: LifeAccount;
      /** Counts of earlier recorders of this recording; null if there was none. */
      readonly earlier: EarlierCounts | null;
    }
  /** The recording's current account, to be written with the next commit. */
  | { readonly type: 'account'; readonly account: LifeAccount }
  /**
   * Commit with this account, close the segment, seal it and end. Exchanges that are still open are lost for the reason
   * `because`.
   */
  | {
      readonly type: 'stop';
      readonly account: LifeAccount;
      readonly because: LossReason;
      /** Sealed segments go to the command of `--on-seal` first. */
      readonly ships: boolean;
    };

export type RecorderOrder<Settings, Type> = Extract<ToRecorder<Settings>, { type: Type }>;

/** The state of a recorder at one instant. */
export interface RecorderBeat {
  readonly rssBytes: number;
  readonly shedding: LossReason | null;
  /** How often the memory for assembly was used up. */
  readonly bodiesCut: number;
  readonly store: StoreReading | null;
  readonly traffic: RecordedTraffic;
  readonly recent: readonly RecentExchange[];
  /** Null without a mirror. */
  readonly mirror: MirrorReading | null;
}

/** Counts that continue across the recorders of a recording. */
type EarlierCounts = Pick<RecorderBeat, 'traffic' | 'bodiesCut' | 'mirror'>;

export interface StoreReading {
  readonly bytes: number;
  readonly freeBytes: number;
}

export type FromRecorder =
  | {
      readonly type: 'ready';
      /** Whether the capture was still empty. */
      readonly isNew: boolean;
      readonly directory: string;
      readonly maxDiskBytes: number;
      /** What earlier recorders of this recording have stored in the capture. */
      readonly progress: Progress;
    }
  /** The sink cannot be opened; the process ends. */
  | {
      readonly type: 'fault';
      readonly message: string;
      readonly hint: string | null;
    }
  | { readonly type: 'beat'; readonly beat: RecorderBeat }
  /** It made its first commit. Sent at once, because a death before the first commit is judged differently. */
  | { readonly type: 'committed' }
  /** It began this segment. */
  | { readonly type: 'segment'; readonly file: string }
  /** How long the disk lasts, estimated from the traffic so far. */
  | { readonly type: 'estimate'; readonly estimate: DiskEstimate }
  | { readonly type: 'notice'; readonly notice: Notice }
  /** Everything is committed and the capture is closed. Only sealing is left. */
  | { readonly type: 'closed' };
