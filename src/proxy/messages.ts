import type { Loss, LossReason } from '../core/accounting.ts';
import type { DiskEstimate } from '../core/disk-estimate.ts';
import type { RecentExchange, RecordedTraffic } from '../core/status.ts';
import type { ConnectionFailure, Notice } from './data-plane.ts';
import type { Endpoint } from './endpoint.ts';
import type { Handed, Heard } from './hand-over.ts';
import type { RefusalReason } from './http/headers.ts';
import type { GatewayOptions } from './http/options.ts';
import type { LedgerReading } from './ledger.ts';
import type { WireOptions } from './tcp/tcp-proxy.ts';

/** Which plane a forwarder runs, and all it is asked to do; plain data. */
export type ForwarderOptions =
  | ({ readonly mode: 'wire' } & WireOptions)
  | ({ readonly mode: 'gateway' } & GatewayOptions);

/** What the supervisor and its processes say to each other over Node's own channel. */
export type ToForwarder =
  /** The message carries a pipe to a new recorder; without one, the recorder has the other end of our own. */
  | { readonly type: 'recorder'; readonly pipe: number }
  | { readonly type: 'listen'; readonly options: ForwarderOptions }
  /** Nothing further of this connection goes to a recorder: the last one died of it. */
  | { readonly type: 'quarantine'; readonly connection: number }
  | { readonly type: 'drain'; readonly deadlineMs: number }
  /** Cuts what the drain still waits for. */
  | { readonly type: 'hurry' };

/** How a forwarder fares, all of one instant. */
export interface ForwarderReading {
  /** That instant, epoch microseconds. */
  readonly atUs: number;
  readonly ledger: LedgerReading;
  /** Connections of clients that are open now, whatever the recorder has acknowledged. */
  readonly open: number;
  readonly turnedAway: number;
  readonly failed: Readonly<Partial<Record<ConnectionFailure, number>>>;
  readonly refused: Readonly<Partial<Record<RefusalReason, number>>>;
  /** Memory held for what waits for the recorder. */
  readonly queuedBytes: number;
  /** Losses that no recorder is known to have noted. */
  readonly untold: readonly Loss[];
  /** Those that the one at the other end of its pipe has noted. */
  readonly noted: readonly Loss[];
  readonly handed: Handed;
}

export type FromForwarder =
  | { readonly type: 'listening'; readonly addresses: readonly Endpoint[] }
  | { readonly type: 'listen-failed'; readonly message: string; readonly hint: string | null }
  | { readonly type: 'beat'; readonly reading: ForwarderReading }
  | { readonly type: 'notice'; readonly notice: Notice }
  | {
      readonly type: 'drained';
      /** The last one: nothing in it is pending. */
      readonly reading: ForwarderReading;
      /** Connections that the deadline cut. */
      readonly cut: number;
    };

export type ToRecorder<Settings> =
  /**
   * Opens the capture and reads the pipes it was started with. `watchful`: it leaves word of the connection that
   * it is at work on, because its predecessor may have died of one.
   */
  | {
      readonly type: 'start';
      readonly settings: Settings;
      readonly pipes: number;
      readonly watchful: boolean;
      /** What this recording goes by in the ledger. */
      readonly life: string;
    }
  /** The message carries a pipe from a new forwarder in this place. */
  | { readonly type: 'forwarder'; readonly slot: number }
  /** To be noted in the capture. Numbered, so that the beats say which were heard. */
  | { readonly type: 'losses'; readonly number: number; readonly losses: readonly Loss[] }
  /** Note these, commit, close the segment and end. What is still open is lost for that reason. */
  | { readonly type: 'stop'; readonly losses: readonly Loss[]; readonly because: LossReason };

/** How a recorder fares, all of one instant. */
export interface RecorderBeat {
  readonly rssBytes: number;
  /** Why commits fail just now. */
  readonly shedding: LossReason | null;
  /** Number of the last message of losses that was heard; 0 for none. */
  readonly heardLosses: number;
  /** Losses it knows of and the capture does not hold yet. */
  readonly unwritten: readonly Loss[];
  /** How often the memory for assembly was spent. */
  readonly bodiesCut: number;
  readonly store: StoreReading | null;
  readonly traffic: RecordedTraffic;
  readonly recent: readonly RecentExchange[];
}

/** The capture on its disk. */
export interface StoreReading {
  readonly bytes: number;
  readonly freeBytes: number;
}

/** The end of a forwarder's pipe at the recorder, the one of that ordinal in its place: so much came through it. */
export interface FeedEnd {
  readonly slot: number;
  readonly ordinal: number;
  readonly heard: Heard;
}

/** How many exchanges a capture holds of those that a recording which was killed saw until its last account. */
export interface CommittedByLife {
  readonly life: string;
  readonly exchanges: number;
}

export type FromRecorder =
  /** Recording. `unsealed` are the segments that earlier lives left open. */
  | {
      readonly type: 'ready';
      readonly directory: string;
      readonly maxDiskBytes: number;
      readonly unsealed: readonly string[];
      /** Of the recordings that were killed here. */
      readonly committed: readonly CommittedByLife[];
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
  | ({ readonly type: 'feed-ended' } & FeedEnd)
  /** A segment is complete and wants sealing. */
  | { readonly type: 'finished'; readonly file: string }
  /** `unwritten` are losses that the capture could not be told of. */
  | { readonly type: 'stopped'; readonly unwritten: readonly Loss[] };
