import type { LossReason } from '../../core/accounting.ts';
import type { KeyedHash } from '../../core/keyed-hash.ts';
import type { AssemblyBudget } from '../../http1/budget.ts';
import type { BodyRedaction } from '../../redaction/body-redaction.ts';
import type { ExchangeKeys } from '../../redaction/identities.ts';
import type { BodyPolicy, Selection } from '../../redaction/recording-policy.ts';
import type { Redaction } from '../../redaction/redaction.ts';
import type { KnownHeads } from './known-heads.ts';
import type { Settlement } from './settlement.ts';

export type { BodyPolicy } from '../../redaction/recording-policy.ts';

/** What all assemblies of one recorder share. */
export interface AssemblyContext {
  /** Epoch microseconds of a monotonic stamp. */
  readonly epochUsOf: (monotonicNs: number) => number;
  readonly policy: BodyPolicy;
  readonly budget: AssemblyBudget;
  readonly hash: KeyedHash;
  readonly redaction: Redaction;
  readonly bodyRedaction: BodyRedaction;
  /** Which exchanges belong together. */
  readonly keys: ExchangeKeys;
  /** What is recorded at all. */
  readonly selection: Selection;
  readonly heads: KnownHeads;
}

/** One connection's own part. */
export interface ConnectionOptions {
  /** Number of the client connection within its recorder's life. */
  readonly connection: number;
  /** The client's IP address; null where none is known. */
  readonly peer?: string | null;
  /** Receives every settlement, in order, during the call that brought it about. */
  readonly sink: (settled: Settlement) => void;
  /**
   * Called once when nothing further on this connection can become an exchange (a tunnel, another protocol, or
   * a framing that is refused). The data plane may then stop copying bytes; those still fed are settled as
   * `omitted: unparsed`.
   */
  readonly onOpaque?: (protocol: string) => void;
  /** Called once when a request began before the one before it was answered. */
  readonly onPipelined?: () => void;
  /** Set when the beginning of the connection was not seen: where it is picked up, and why so late. */
  readonly resync?: ResyncStart;
}

/** Offsets are bytes of each direction since the start of the connection, all settled elsewhere. */
export interface ResyncStart {
  readonly reason: LossReason;
  readonly clientOffset: number;
  readonly serverOffset: number;
}
