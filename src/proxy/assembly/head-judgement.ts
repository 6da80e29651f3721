import type { OmissionCause } from '../../core/accounting.ts';
import type { Route } from '../../core/routes.ts';
import type { ScannedRequest } from '../../http1/heads.ts';
import { type PayloadApi, payloadApiOf } from '../../inference/features.ts';
import type { ExchangeKeys, HeadKey } from '../../redaction/identities.ts';
import type { Selection } from '../../redaction/recording-policy.ts';

/** What a request's head alone decides; the same for all requests with the same head. */
export interface HeadJudgement {
  /** How the model is asked. */
  readonly api: PayloadApi | null;
  /** Whether its body may name the model, which its path does not. */
  readonly namesModel: boolean;
  /** Whether anything is looked up in its body. */
  readonly readsBody: boolean;
  /** Why it is left out, whatever its connection and its session. */
  readonly omission: OmissionCause | null;
  readonly session: HeadKey;
  readonly client: HeadKey;
}

const NO_KEY: HeadKey = Object.freeze({ inBody: [], hash: null, peer: false });

/** @param head as received, a view valid during the call only */
export function judgeHead(
  { keys, selection }: { readonly keys: ExchangeKeys; readonly selection: Selection },
  { method, target, fields }: ScannedRequest,
  route: Route,
  head: Buffer,
): HeadJudgement {
  const api = payloadApiOf(route);
  const namesModel =
    route.model === null && method === 'POST' && (api !== null || route.route.includes('/v1/'));
  const leftOut = { api, namesModel, readsBody: false, session: NO_KEY, client: NO_KEY };
  if (fields.marked) return { ...leftOut, omission: 'replay_marked' };
  if (selection.skip.skips(method, target, route)) return { ...leftOut, omission: 'skip_rule' };
  const text = head.toString('latin1');
  const [session, client] = [keys.inHead('session', text), keys.inHead('client', text)];
  const readsBody = api !== null || namesModel || session.inBody.length + client.inBody.length > 0;
  return { api, namesModel, readsBody, omission: null, session, client };
}
