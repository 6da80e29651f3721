import type { Body, Message } from '../../core/exchange.ts';
import type { HeadFields } from '../../http1/heads.ts';
import { type BodyAbout, type BodyRedaction, dropNote } from '../../redaction/body-redaction.ts';
import type { RedactedBytes } from '../../redaction/redaction.ts';
import type { BodyCollector } from './body.ts';

/** A request or response while it is being read. */
export class MessageDraft {
  readonly head: RedactedBytes;
  readonly body: BodyCollector;
  /** Monotonic nanoseconds of the first byte, and of the one that completed the head. */
  readonly firstByteNs: number;
  readonly headEndNs: number;
  /** Whether all of it was seen. */
  ended = false;
  trailers: RedactedBytes | null = null;

  constructor(head: RedactedBytes, body: BodyCollector, firstByteNs: number, headEndNs: number) {
    this.head = head;
    this.body = body;
    this.firstByteNs = firstByteNs;
    this.headEndNs = headEndNs;
  }

  /** Monotonic nanoseconds of the last byte seen. */
  get lastByteNs(): number {
    return this.body.lastByteNs ?? this.headEndNs;
  }

  /** Bytes held beside the body, as charged to the budget. */
  get headBytes(): number {
    return this.head.bytes.length + (this.trailers?.bytes.length ?? 0);
  }

  /**
   * The message as it may be stored: nothing of its body leaves here that a rule hides.
   * @param storedBytes Most of its body that the policy stores; null for none of it.
   */
  finish(storedBytes: number | null, redaction: BodyRedaction, fields: HeadFields | null): Message {
    const names = this.trailers === null ? this.head.names : union(this.head.names, this.trailers.names);
    const message = { head: this.head.bytes, trailers: this.trailers?.bytes ?? null };
    const body = this.body.finish(this.ended, storedBytes);
    if (!redaction.active || body.kept === null || fields === null)
      return { ...message, redacted: names, body };
    const { kept, names: covered, dropped } = redaction.redact(body.kept, aboutBody(body, fields));
    const said = dropped === null ? covered : [dropNote(dropped)];
    return { ...message, redacted: union(names, said), body: { ...body, kept } };
  }
}

function aboutBody(
  body: Body,
  { contentType, contentEncoding, inferenceHeaderLength }: HeadFields,
): BodyAbout {
  return {
    contentType,
    contentEncoding,
    truncated: body.truncated,
    // A length that is no number is none that could be trusted: the body is then no tensors that can be read.
    inferenceHeaderLength: inferenceHeaderLength === null ? null : Number(inferenceHeaderLength),
    hash: body.hash,
  };
}

function union(first: readonly string[], second: readonly string[]): readonly string[] {
  return second.length === 0 ? first : [...new Set([...first, ...second])];
}
