import type { Loss, LossReason } from '../core/accounting.ts';
import type { Endpoint } from './endpoint.ts';
import type { LedgerReading } from './ledger.ts';
import type { WireOptions } from './wire/options.ts';

/** What the supervisor and its processes say to each other over Node's own channel. */
export type ToForwarder =
  /** The message carries a pipe to a new recorder; without one, the recorder has the other end of our own. */
  | { readonly type: 'recorder' }
  | { readonly type: 'listen'; readonly options: WireOptions }
  | { readonly type: 'drain'; readonly deadlineMs: number }
  /** Cuts what the drain still waits for. */
  | { readonly type: 'hurry' };

export type FromForwarder =
  | { readonly type: 'listening'; readonly addresses: readonly Endpoint[] }
  | { readonly type: 'listen-failed'; readonly message: string; readonly hint: string | null }
  | { readonly type: 'beat'; readonly ledger: LedgerReading }
  | {
      readonly type: 'drained';
      readonly ledger: LedgerReading;
      /** Connections that the deadline cut, and those turned away by the limit. */
      readonly cut: number;
      readonly turnedAway: number;
      /** Losses that the recorder never heard of. */
      readonly losses: readonly Loss[];
    };

export type ToRecorder<Settings> =
  | { readonly type: 'start'; readonly settings: Settings }
  /** The message carries a pipe from a new forwarder. */
  | { readonly type: 'forwarder' }
  /** Note these, commit, close the segment and end. */
  | { readonly type: 'stop'; readonly losses: readonly Loss[] };

export type FromRecorder =
  /** Recording. `unsealed` are the segments that earlier lives left open. */
  | { readonly type: 'ready'; readonly unsealed: readonly string[] }
  /** The sink cannot be had; the process ends. */
  | {
      readonly type: 'fault';
      readonly message: string;
      readonly hint: string | null;
    }
  /** `shedding` is why commits fail just now. */
  | {
      readonly type: 'beat';
      readonly rssBytes: number;
      readonly committed: number;
      readonly shedding: LossReason | null;
    }
  /** A segment is complete and wants sealing. */
  | { readonly type: 'finished'; readonly file: string }
  | { readonly type: 'stopped' };
