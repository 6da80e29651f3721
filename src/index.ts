export type { ReplayDocument } from './documents/replay.ts';
/**
 * The public names: reading captures and runs from a program of your own. Recording and replaying are commands,
 * because each is several processes or threads.
 */

export { LOSS_REASONS, type LossReason, OMISSION_CAUSES, type OmissionCause } from './core/accounting.ts';
export type { ClockAnchor } from './core/clock.ts';
export { AppError, ERROR_CODES, type ErrorCode } from './core/errors.ts';
export {
  type Body,
  type ChunkTimes,
  type Exchange,
  type ExchangeFacts,
  type ExchangePayload,
  type ExchangeRow,
  type Message,
  type Outcome,
  wholePayload,
} from './core/exchange.ts';
export type { HeaderPair, RequestHead, ResponseHead } from './core/headers.ts';
export {
  headerPairsOf,
  headerValue,
  MARKER_HEADER,
  parseRequestHead,
  parseResponseHead,
} from './core/headers.ts';
export type { CaptureSource, TimeRange } from './core/ports.ts';
export type { Run, RunTotals, Send, SendError } from './core/run.ts';
export { resolveCaptureDirectory } from './storage/capture/directory.ts';
export type { InspectDocument } from './storage/capture/inspect.ts';
export { inspectCapture } from './storage/capture/inspect.ts';
export { CaptureReader } from './storage/capture/reader.ts';
export type { SecondRollUp } from './storage/capture/roll-ups.ts';
export { RunReader, type RunSecond } from './storage/runs/reader.ts';
