import type { ExchangePayload, Message } from '../core/exchange.ts';
import { headerValue, parseRequestHead } from '../core/headers.ts';
import { maskedPointers } from './check/places.ts';
import type { PlayedAs } from './copy-identity.ts';
import type { RequestBuilder } from './request-builder.ts';

/** What makes a request that can be sent unlikely to be answered as it was. A closed list. */
export const PAYLOAD_FINDINGS = [
  'masked',
  'presigned_url',
  'json_web_token',
  'timestamp',
  'server_issued_id',
  'compressed_body',
] as const;
export type PayloadFinding = (typeof PAYLOAD_FINDINGS)[number];

export const PAYLOAD_FINDING_TEXTS: Readonly<Record<PayloadFinding, string>> = {
  masked: 'a header, a query value or a part of the body was masked when it was recorded',
  presigned_url: 'a signed link in it may have expired',
  json_web_token: 'a token in it may have expired',
  timestamp: 'a time in it may be checked or cached against',
  server_issued_id: 'it names something the recorded server had made',
  compressed_body: 'its body is compressed, so this audit did not look inside',
};

/** Of a bounded sample of requests. */
export interface PayloadAudit {
  /** Requests looked at. */
  readonly sampled: number;
  readonly found: Readonly<Record<PayloadFinding, number>>;
  /** Requests of the sample whose recorded answer is there whole and unmasked, so that another can be held against it. */
  readonly comparableAnswers: number;
  /** Requests of the sample that the HTTP client cannot send as they were. */
  readonly unreplayableByReason: Readonly<Record<string, number>>;
}

/** Text looked at of one body. */
const MAX_TEXT_BYTES = 256 * 1024;

const PATTERNS: readonly (readonly [PayloadFinding, RegExp])[] = [
  [
    'presigned_url',
    /[?&](X-Amz-Signature|X-Goog-Signature)=|[?&]sig=[^&\s"]*%3D|[?&]Signature=[^\s"]*&?Expires=/i,
  ],
  ['presigned_url', /[?&]Expires=\d+[^\s"]*[?&]Signature=/i],
  ['json_web_token', /\beyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]{8,}/],
  [
    'timestamp',
    /"(timestamp|created|created_?at|date|time|iat|exp|nbf|expires?(_?at)?)"\s*:\s*("\d{4}-\d{2}-\d{2}|1\d{9}\b|1\d{12}\b)/i,
  ],
  [
    'server_issued_id',
    /"(previous_response_id|conversation_id|thread_id|assistant_id|file_id|input_file_id|container_id|vector_store_id|batch_id)"\s*:\s*"/,
  ],
];

/** Looks into sampled requests for what will not replay as it was recorded. */
export class PayloadAuditor {
  readonly #builder: RequestBuilder;
  readonly #found = new Map<PayloadFinding, number>();
  readonly #unreplayable = new Map<string, number>();
  #sampled = 0;
  #comparable = 0;

  constructor(builder: RequestBuilder) {
    this.#builder = builder;
  }

  add(payload: ExchangePayload | null, as: PlayedAs | null = null): void {
    const result = this.#builder.build(payload, as);
    if (result.kind === 'no_payload' || payload?.request == null) return;
    this.#sampled += 1;
    if (isComparable(payload.response)) this.#comparable += 1;
    if (result.kind === 'unreplayable') {
      this.#unreplayable.set(result.reason, (this.#unreplayable.get(result.reason) ?? 0) + 1);
      return;
    }
    const findings = findingsOf(payload);
    const { headers, queryKeys, bodyValues } = result.masked;
    if (headers.length + queryKeys.length + bodyValues.length > 0) findings.add('masked');
    for (const finding of findings) this.#found.set(finding, (this.#found.get(finding) ?? 0) + 1);
  }

  report(): PayloadAudit {
    return {
      sampled: this.#sampled,
      comparableAnswers: this.#comparable,
      found: Object.fromEntries(
        PAYLOAD_FINDINGS.map((finding) => [finding, this.#found.get(finding) ?? 0]),
      ) as Record<PayloadFinding, number>,
      unreplayableByReason: Object.fromEntries(this.#unreplayable),
    };
  }
}

function isComparable(response: Message | null): boolean {
  if (response === null || response.body.truncated || response.body.kept === null) return false;
  return maskedPointers(response.redacted).length === 0;
}

function findingsOf(payload: ExchangePayload): Set<PayloadFinding> {
  const findings = new Set<PayloadFinding>();
  const request = payload.request;
  if (request === null) return findings;
  const head = parseRequestHead(request.head);
  const coding = headerValue(head.headers, 'content-encoding');
  const compressed = coding !== null && coding.toLowerCase() !== 'identity' && request.body.bytes > 0;
  if (compressed) findings.add('compressed_body');
  const kept = compressed ? null : request.body.kept;
  const bodyText = Buffer.from(kept?.subarray(0, MAX_TEXT_BYTES) ?? []).toString('latin1');
  const texts = [head.target, ...head.headers.map(([, value]) => value), bodyText];
  for (const [finding, pattern] of PATTERNS) {
    if (texts.some((text) => pattern.test(text))) findings.add(finding);
  }
  return findings;
}
