import type { KeyedHash } from '../../core/keyed-hash.ts';
import type { AssemblyBudget } from '../../http1/budget.ts';
import type { BodyRedaction } from '../../redaction/body-redaction.ts';
import type { ExchangeKeys } from '../../redaction/identities.ts';
import type { BodyPolicy, Selection } from '../../redaction/recording-policy.ts';
import type { Redaction } from '../../redaction/redaction.ts';
import type { KnownHeads } from './known-heads.ts';

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
