import type { Route } from '../../core/routes.ts';
import type { ScannedRequest } from '../../http1/heads.ts';
import {
  isPlain,
  modelOfForm,
  modelOfJson,
  type RequestFeatures,
  requestFeatures,
} from '../../inference/features.ts';
import type { ExchangeKeys } from '../../redaction/identities.ts';
import type { HeadJudgement } from './head-judgement.ts';

/** What the facts of a request are read from. */
export interface FactSources {
  readonly scanned: ScannedRequest;
  readonly route: Route;
  readonly judged: HeadJudgement;
  readonly keys: ExchangeKeys;
  /** The client's address; null where none is known. */
  readonly peer: string | null;
  /** The beginning of its body. */
  readonly body: Buffer;
  /** Whether that is all of it. */
  readonly whole: boolean;
}

const EMPTY = Buffer.alloc(0);
const MULTIPART = /^multipart\/form-data\s*;/i;

/** The facts of one request, each read when it is asked for and before anything in the body is covered. */
export class RequestFacts {
  readonly #from: FactSources;
  /** The beginning of the body where it can be read: not compressed, and without Triton's binary tensors. */
  readonly #text: Buffer;
  #session: Uint8Array | null | undefined;
  #features: RequestFeatures | null = null;

  constructor(from: FactSources) {
    this.#from = from;
    const { contentEncoding, inferenceHeaderLength } = from.scanned.fields;
    const json = inferenceHeaderLength === null ? from.body.length : Number(inferenceHeaderLength);
    this.#text = isPlain(contentEncoding) ? (json >= 0 ? from.body.subarray(0, json) : EMPTY) : EMPTY;
  }

  session(): Uint8Array | null {
    const { keys, judged, peer } = this.#from;
    if (this.#session === undefined) this.#session = keys.of('session', judged.session, this.#body, peer);
    return this.#session;
  }

  client(): Uint8Array | null {
    const { keys, judged, peer } = this.#from;
    return keys.of('client', judged.client, this.#body, peer);
  }

  /** As the path names it, else the body. */
  model(): string | null {
    const { route, scanned, judged } = this.#from;
    if (route.model !== null) return route.model;
    if (!judged.namesModel || this.#text.length === 0) return null;
    const type = scanned.fields.contentType ?? '';
    return MULTIPART.test(type) ? modelOfForm(this.#text, type) : modelOfJson(this.#text);
  }

  batch(): number | null {
    return this.#asked().batch;
  }

  asksStream(): boolean {
    return this.#asked().stream;
  }

  get #body(): Buffer | null {
    return this.#text.length === 0 ? null : this.#text;
  }

  #asked(): RequestFeatures {
    const { judged, whole } = this.#from;
    this.#features ??= requestFeatures(judged.api, this.#text, whole);
    return this.#features;
  }
}
