import type { OmissionCause } from '../../core/accounting.ts';
import type { HeadKey } from '../../core/exchange-keys.ts';
import type { ScannedRequest } from '../../core/http1/head-scan.ts';
import { type PayloadApi, payloadApiOf } from '../../core/payload-api.ts';
import type { Route } from '../../core/routes.ts';
import type { AssemblyContext } from './options.ts';

/** What a request's head alone decides; the same for all requests with the same head. */
export interface HeadJudgement {
  /** How the model is asked. */
  readonly api: PayloadApi | null;
  /** Why it is left out, whatever its connection and its session. */
  readonly omission: OmissionCause | null;
  readonly session: HeadKey;
  readonly client: HeadKey;
}

const NO_KEY: HeadKey = Object.freeze({ inBody: [], hash: null, peer: false });

/** @param head as received, a view valid during the call only */
export function judgeHead(
  { keys, selection }: AssemblyContext,
  { method, target, fields }: ScannedRequest,
  route: Route,
  head: Buffer,
): HeadJudgement {
  const api = payloadApiOf(route);
  if (fields.marked) return { api, omission: 'replay_marked', session: NO_KEY, client: NO_KEY };
  if (selection.skip.skips(method, target, route))
    return { api, omission: 'skip_rule', session: NO_KEY, client: NO_KEY };
  const text = head.toString('latin1');
  const [session, client] = [keys.inHead('session', text), keys.inHead('client', text)];
  return { api, omission: null, session, client };
}
