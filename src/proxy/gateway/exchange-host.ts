import type { ConnectionFailure } from '../data-plane.ts';
import type { RecorderLink } from '../recorder-link.ts';
import type { GatewayTimeouts } from './options.ts';
import type { TimeLimits } from './time-limits.ts';

/** What all that is under way in a gateway shares. */
export interface ExchangeHost {
  readonly link: RecorderLink;
  readonly limits: TimeLimits;
  readonly timeouts: GatewayTimeouts;
  readonly draining: boolean;
  /** Whether the target is told whom a request came from, so that its client may not say it. */
  readonly tellsPeer: boolean;
  /** An exchange is over, or became a tunnel. */
  ended(): void;
  /** There is a tunnel more, or one less. */
  tunnelled(change: 1 | -1): void;
  /** @param error what it failed by, if anything said so */
  failed(failure: ConnectionFailure, error?: Error): void;
}
