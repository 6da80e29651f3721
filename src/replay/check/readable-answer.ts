/** A body without its content coding, and what its head says of it. */
export interface ReadableAnswer {
  readonly bytes: Uint8Array;
  readonly contentType: string | null;
  /** Bytes of JSON before Triton's binary tensors; null without them. */
  readonly jsonBytes: number | null;
}

/** A content type without its parameters. */
export function mediaTypeOf(contentType: string | null): string {
  return (contentType ?? '').split(';', 1)[0]?.trim().toLowerCase() ?? '';
}
