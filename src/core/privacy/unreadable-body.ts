/** Why a body is not stored at all. */
export const BODY_DROP_REASONS = [
  'truncated',
  'not_json',
  'too_deep',
  'too_large',
  'unknown_type',
  'unknown_coding',
  'bad_coding',
  'bad_tensors',
  'bad_event_stream',
  'bad_multipart',
  'bad_form',
  'failed',
] as const;
export type BodyDropReason = (typeof BODY_DROP_REASONS)[number];

/** A body that cannot be read for certain; thrown and caught within body redaction, which then drops it. */
export class UnreadableBody extends Error {
  readonly reason: BodyDropReason;

  constructor(reason: BodyDropReason) {
    super(`body cannot be redacted: ${reason}`);
    this.name = 'UnreadableBody';
    this.reason = reason;
  }
}
