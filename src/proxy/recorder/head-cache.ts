import type { OmissionCause } from '../../core/accounting.ts';
import type { KnownHead } from '../../core/exchange.ts';
import type { Route, Routes } from '../../core/routes.ts';
import { type Framing, requestFraming, responseFraming } from '../../http1/framing.ts';
import { type ScannedRequest, type ScannedResponse, scanRequest, scanResponse } from '../../http1/heads.ts';
import { type PayloadApi, payloadApiOf } from '../../inference/features.ts';
import { isGrpc } from '../../inference/grpc.ts';
import type { RedactedBytes } from '../../redaction/head-redaction.ts';
import type { ExchangeKeys, HeadKey } from '../../redaction/identities.ts';
import type { Selection } from '../../redaction/recording-policy.ts';
import { type AnswerType, answerType } from './body-collector.ts';

/**
 * What was read from a request's head. Shared by all requests with the same head. Missing values are filled in later.
 */
export interface RequestReading {
  /** The head in latin1. What was scanned are slices of it. */
  readonly text: string;
  readonly scanned: ScannedRequest;
  readonly framing: Framing;
  readonly route: Route;
  /** Whether it is a gRPC call. */
  readonly isCall: boolean;
  /** Null until it is first needed, like the next ones. */
  redacted: RedactedBytes | null;
  judged: HeadJudgement | null;
  /** Set when the head comes again, so that heads that never repeat do not pay for it. */
  known: KnownHead | null;
}

/** The same for a response's head. The framing of its body depends on the method of the request. */
export interface ResponseReading {
  readonly text: string;
  readonly scanned: ScannedResponse;
  readonly framing: Framing;
  readonly type: AnswerType;
  redacted: RedactedBytes | null;
  known: KnownHead | null;
}

/** Most heads of each kind in the cache, and the largest one. With all values they take at most 12 MiB. */
const REMEMBERED = 512;
const REMEMBERED_BYTES = 2 * 1024;

/**
 * Reads heads, and caches what was read. Clients of a model server send the same head thousands of times a second, byte
 * for byte. To scan and mask it takes ten times as long as to look it up. A head with any difference is read anew.
 */
export class HeadCache {
  readonly #routes: Routes;
  readonly #requests = new Map<string, RequestReading>();
  /** By the methods that change the framing. A key of method and head would have to be joined for every response. */
  readonly #responses = { HEAD: new Map(), CONNECT: new Map(), other: new Map<string, ResponseReading>() };

  constructor(routes: Routes) {
    this.#routes = routes;
  }

  /** Null for a head that servers could read in different ways. */
  request(head: Buffer): RequestReading | null {
    const text = head.toString('latin1');
    const known = this.#requests.get(text);
    if (known !== undefined) return seenAgain(known);
    const scanned = scanRequest(text);
    const framing = scanned === null ? null : requestFraming(scanned);
    if (scanned === null || framing === null) return null;
    const isCall = scanned.protocol === 'h2' && isGrpc(scanned.fields.contentType);
    const route = this.#routes.of(scanned.method, scanned.target, isCall);
    const read = { text, scanned, framing, route, isCall, redacted: null, judged: null, known: null };
    return keep(this.#requests, text, read);
  }

  /** @param method method of the request that is answered */
  response(head: Buffer, method: string): ResponseReading | null {
    const text = head.toString('latin1');
    const answers = this.#responses[method === 'HEAD' || method === 'CONNECT' ? method : 'other'];
    const known = answers.get(text);
    if (known !== undefined) return seenAgain(known);
    const scanned = scanResponse(text);
    const framing = scanned === null ? null : responseFraming(scanned, method);
    if (scanned === null || framing === null) return null;
    const type = answerType(scanned.fields.contentType);
    return keep(answers, text, { text, scanned, framing, type, redacted: null, known: null });
  }
}

function seenAgain<Reading extends { known: KnownHead | null }>(reading: Reading): Reading {
  reading.known ??= { packed: null };
  return reading;
}

/** A full table is cleared. Heads that repeat are soon in it again, and others are of no use there. */
function keep<Reading>(readings: Map<string, Reading>, text: string, reading: Reading): Reading {
  if (text.length > REMEMBERED_BYTES) return reading;
  if (readings.size >= REMEMBERED) readings.clear();
  readings.set(text, reading);
  return reading;
}

/** What the head of a request decides alone; equal for all requests with the same head. */
export interface HeadJudgement {
  /** The API of the request; null if unknown. */
  readonly api: PayloadApi | null;
  /** Whether its body may name the model, which its path does not. */
  readonly namesModel: boolean;
  /** Whether anything is read from its body. */
  readonly readsBody: boolean;
  /** Why it is omitted, regardless of its connection and session; null if it is not. */
  readonly omission: OmissionCause | null;
  readonly session: HeadKey;
  readonly client: HeadKey;
}

const NO_KEY: HeadKey = Object.freeze({ inBody: [], hash: null, peer: false });

/** @param head the head as received, a view that is valid only during the call */
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
