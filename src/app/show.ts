import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { decodeContent } from '../core/content-coding.ts';
import { AppError, UnreadableBody } from '../core/errors.ts';
import {
  type ChunkTimes,
  type ExchangeRow,
  formatPlace,
  hasExchangeFailed,
  type Message,
} from '../core/exchange.ts';
import { headerPairsOf, headerValue, latin1, parseRequestHead } from '../core/headers.ts';
import { LIMITS } from '../core/limits.ts';
import { type ResolvedOptions, text, toggle, value } from '../core/options.ts';
import { picked } from '../core/picked.ts';
import type { MessageType } from '../core/protobuf.ts';
import { checkWord, hasFailed, type Run, type Send } from '../core/run.ts';
import { formatBytes, formatInstantUs, parseCount, refused } from '../core/units.ts';
import { isOfRoute } from '../documents/metrics/slices.ts';
import type { ReplayDocument } from '../documents/replay.ts';
import type { ShownDocument, ShownMessage, ShownRequest } from '../documents/shown.ts';
import { grpcMessagesOf, grpcStatusName, isGrpc } from '../inference/grpc.ts';
import { LinkReader } from '../inference/links/link-reader.ts';
import { plainMessage } from '../inference/protobuf/call-facts.ts';
import { messageJson } from '../inference/protobuf/message-json.ts';
import { resolveCaptureDirectory, segmentsOf } from '../storage/capture/directory.ts';
import { CaptureReader } from '../storage/capture/reader.ts';
import { RunReader } from '../storage/runs/reader.ts';
import { RUN_DATABASE } from '../storage/runs/schema.ts';
import { TraceSample } from '../telemetry/traces.ts';
import { capturePlaces, encryptionKeyOf, encryptionKeyOption } from './open-capture.ts';
import { loadCallSchema, PROTO_OPTION } from './recording/proto-files.ts';
import { damagedRows, sendsOf } from './run-files.ts';

const LISTED = 20;
/** What of a body fits a terminal. */
const SHOWN_BODY_BYTES = 2_048;
const SEGMENT_SUFFIX = '.sqlite';

export const SHOW_OPTIONS = {
  slowest: value('--slowest <n>', 'the n with the greatest latency', parseListed),
  failed: toggle('--failed', 'only failed ones: a 5xx, or no complete answer although the client waited'),
  route: text('--route <route>', 'only this route, as a list names it; a path alone is of any method'),
  model: text('--model <name>', 'only those to this model'),
  status: value('--status <code>', 'only those with this status: 404, or 4xx for a class', parseStatus),
  limit: value('--limit <n>', `list at most this many (default: ${LISTED}, or --slowest)`, parseListed),
  payload: toggle('--payload', 'print heads and bodies as recorded; they may hold what users sent'),
  full: toggle(
    '--full',
    `with --payload: up to ${formatBytes(LIMITS.shownBodyBytes)} of each body (default: ${formatBytes(SHOWN_BODY_BYTES)})`,
  ),
  capture: text(
    '--capture <directory>',
    'the capture with the payloads of a run (default: the one it names)',
  ),
  ...PROTO_OPTION,
  encryptionKeyFile: encryptionKeyOption('file with the key of an encrypted capture, for --payload'),
};
type ShowOptions = ResolvedOptions<typeof SHOW_OPTIONS>;

function parseListed(given: string, what: string): number {
  const listed = parseCount(given, what);
  if (listed <= LIMITS.shownRequests) return listed;
  throw refused(
    what,
    given,
    `is above ${LIMITS.shownRequests}`,
    'Query run.sqlite or the segments with sqlite3.',
  );
}

/** The statuses from the first up to, but not including, the second. */
function parseStatus(given: string, what: string): readonly [from: number, to: number] {
  const [, hundreds, rest = ''] = /^([1-5])(xx|\d\d)$/i.exec(given) ?? [];
  if (hundreds === undefined)
    throw refused(what, given, 'is no HTTP status', 'Examples: 404, or 4xx for all from 400 to 499.');
  const from = Number(hundreds) * 100;
  return /\d/.test(rest) ? [from + Number(rest), from + Number(rest) + 1] : [from, from + 100];
}

/**
 * Requests of a capture or a run: those with these ids, or else the slowest, the failed or the first ones.
 * @param ids `SEGMENT:ID`, or `ID` if a capture has one segment; in a run the position in the plan
 * @throws AppError INPUT_INVALID for an unknown id; otherwise as opening the directory does
 */
export function show(directory: string, ids: readonly string[], options: ShowOptions): ShownDocument {
  const isRun = existsSync(join(directory, RUN_DATABASE));
  return isRun ? showRun(directory, ids, options) : showCapture(directory, ids, options);
}

function showCapture(directory: string, ids: readonly string[], options: ShowOptions): ShownDocument {
  const place = resolveCaptureDirectory(directory, 'read');
  const reader = new CaptureReader(place, { encryptionKey: encryptionKeyOf(options) });
  try {
    const segments = segmentsOf(place).map(({ file }) => file);
    const { matching, kept } =
      ids.length > 0
        ? { matching: ids.length, kept: ids.map((id) => exchangeOf(reader, segments, id)) }
        : chosen(reader.rows(), options, {
            hasFailed: hasExchangeFailed,
            latency: ({ lastByteOffsetUs }) => lastByteOffsetUs,
          });
    const links = ids.length > 0 ? linksOf(reader, kept) : null;
    const requests = kept.map((row) => ({
      ...shownExchange(row),
      ...(links === null ? {} : { links: links.get(idOf(row)) ?? [] }),
      payload: payloadOf(reader, row, options),
    }));
    return { schemaVersion: 1, kind: 'requests', of: 'capture', directory, matching, requests };
  } finally {
    reader.close();
  }
}

/** The links of exchanges by their ids. All earlier exchanges of their sessions are read. */
function linksOf(
  reader: CaptureReader,
  rows: readonly ExchangeRow[],
): ReadonlyMap<string, ShownRequest['links']> {
  if (rows.every(({ session, links }) => session === null || links === 0))
    return new Map(rows.map((row) => [idOf(row), []]));
  const sessions = new Set(rows.map(({ session }) => hexOf(session)));
  const wanted = new Set(rows.map(idOf));
  const found = new Map<string, ShownRequest['links']>();
  // What a limit left out is listed as of an exchange that is not here, or not at all.
  const links = new LinkReader(() => undefined);
  const last = rows.reduce((latest, { arrivalUs }) => Math.max(latest, arrivalUs), 0);
  for (const row of reader.rows({ fromUs: 0, toUs: last + 1 })) {
    if (row.session === null || !sessions.has(hexOf(row.session))) continue;
    const ofRow = links.of(row, reader.payload(row));
    if (!wanted.has(idOf(row))) continue;
    const shown = ofRow.map(({ from, place, to }) => {
      return { from: from && idOf(from), place: formatPlace(place), to: formatPlace(to) };
    });
    found.set(idOf(row), shown);
  }
  return found;
}

function hexOf(session: Uint8Array | null): string {
  return session === null ? '' : Buffer.from(session).toString('hex');
}

/** @throws AppError INPUT_INVALID */
function exchangeOf(reader: CaptureReader, segments: readonly string[], id: string): ExchangeRow {
  const [, named, digits = ''] = /^(?:(.+):)?(\d{1,15})$/.exec(id) ?? [];
  const [only] = segments;
  const segment = named ?? (segments.length === 1 && only !== undefined ? only : null);
  const hint = 'Ids are SEGMENT:ID, as reprise show lists them.';
  if (digits === '' || segment === null) {
    throw new AppError('INPUT_INVALID', `${JSON.stringify(id)} names no exchange of this capture`, { hint });
  }
  const file = segment.endsWith(SEGMENT_SUFFIX) ? segment : `${segment}${SEGMENT_SUFFIX}`;
  const row = segments.includes(file) ? reader.row(file, Number(digits)) : null;
  if (row === null) throw new AppError('INPUT_INVALID', `the capture has no exchange ${id}`, { hint });
  return row;
}

function showRun(directory: string, ids: readonly string[], options: ShowOptions): ShownDocument {
  const reader = new RunReader(directory);
  try {
    const { run } = reader;
    const { matching, kept } =
      ids.length > 0
        ? { matching: ids.length, kept: ids.map((id) => sendNamed(directory, reader, id)) }
        : chosen(judged(sendsOf(directory, reader)), options, {
            hasFailed: (send) => send.actualOffsetNs !== null && hasFailed(send),
            latency: ({ lastByteOffsetNs, intendedOffsetNs }) =>
              lastByteOffsetNs === null ? null : lastByteOffsetNs - intendedOffsetNs,
          });
    const payloads = options.payload ? payloadsOf(directory, run, kept, options) : [];
    const traces = tracesOf(reader);
    const requests = kept.map((send, at) => ({
      ...shownSend(send, run?.startedAtUs ?? 0),
      trace: (send.actualOffsetNs !== null && traces?.of(send.index)?.traceId) || null,
      payload: payloads[at] ?? null,
    }));
    return { schemaVersion: 1, kind: 'requests', of: 'run', directory, matching, requests };
  } finally {
    reader.close();
  }
}

/**
 * The sample of requests that a run traced. Null for none, and for a merged run, because its shards have their own ids.
 */
function tracesOf({ run, summary }: RunReader): TraceSample | null {
  const share = (summary as Partial<ReplayDocument> | null)?.telemetry?.traceShare ?? null;
  return run === null || share === null ? null : new TraceSample(run.id, share);
}

function* judged(sends: Iterable<Send>): Generator<Send> {
  for (const send of sends) if (!send.warmup) yield send;
}

/** @throws AppError INPUT_INVALID */
function sendNamed(directory: string, reader: RunReader, id: string): Send {
  const index = /^\d{1,15}$/.test(id) ? Number(id) : null;
  try {
    const send = index === null ? null : reader.send(index);
    if (send !== null) return send;
  } catch (thrown) {
    throw damagedRows(directory, thrown);
  }
  throw new AppError('INPUT_INVALID', `the run has no send ${JSON.stringify(id)}`, {
    hint: 'In a run an id is the position in the plan, from 0, as reprise show lists it.',
  });
}

/** The rows to list, with bounded memory, and the number of all matching rows. */
function chosen<Row extends Pick<ExchangeRow, 'route' | 'model' | 'status'>>(
  rows: Iterable<Row>,
  { failed, slowest, limit, route, model, status }: ShowOptions,
  of: { readonly hasFailed: (row: Row) => boolean; readonly latency: (row: Row) => number | null },
): { readonly matching: number; readonly kept: readonly Row[] } {
  const most = Math.min(slowest ?? limit ?? LISTED, limit ?? Number.POSITIVE_INFINITY);
  let kept: Row[] = [];
  let matching = 0;
  const bySlowness = () => {
    kept = kept.sort((a, b) => (of.latency(b) ?? 0) - (of.latency(a) ?? 0)).slice(0, most);
  };
  for (const row of rows) {
    if (failed && !of.hasFailed(row)) continue;
    if (route !== null && !isOfRoute(route, row)) continue;
    if (model !== null && row.model !== model) continue;
    if (status !== null && !isWithin(row.status, status)) continue;
    if (slowest !== null && of.latency(row) === null) continue;
    matching += 1;
    if (slowest === null && kept.length >= most) continue;
    kept.push(row);
    if (kept.length >= 2 * most + LIMITS.shownRequests) bySlowness();
  }
  if (slowest !== null) bySlowness();
  return { matching, kept };
}

function isWithin(status: number | null, [from, to]: readonly [number, number]): boolean {
  return status !== null && status >= from && status < to;
}

function idOf({ segment, id }: { readonly segment: string; readonly id: number }): string {
  return `${segment.replace(/\.sqlite$/, '')}:${id}`;
}

function shownExchange(row: ExchangeRow): Omit<ShownRequest, 'payload'> {
  const ms = (us: number | null) => (us === null ? null : us / 1e3);
  return {
    exchange: idOf(row),
    send: null,
    at: formatInstantUs(row.arrivalUs),
    ...picked(row, 'route', 'model', 'status'),
    ...shownCall(row),
    result: row.outcome,
    failed: hasExchangeFailed(row),
    ...picked(row, 'streamed', 'requestBytes', 'responseBytes'),
    trace: row.traceId && Buffer.from(row.traceId).toString('hex'),
    ms: {
      sent: null,
      firstByte: ms(row.firstByteOffsetUs),
      firstToken: ms(row.firstTokenOffsetUs),
      lastByte: ms(row.lastByteOffsetUs),
    },
    tokens: { prompt: row.promptTokens, output: row.outputTokens },
    recorded: null,
    check: null,
  };
}

function shownCall({
  grpcStatus = null,
  requestMessages = null,
  responseMessages = null,
}: Pick<ExchangeRow, 'grpcStatus' | 'requestMessages' | 'responseMessages'>): Pick<ShownRequest, 'grpc'> {
  if (grpcStatus === null && requestMessages === null && responseMessages === null) return {};
  const status = grpcStatus === null ? null : grpcStatusName(grpcStatus);
  return { grpc: { status, requestMessages, responseMessages } };
}

function shownSend(send: Send, startedAtUs: number): Omit<ShownRequest, 'payload'> {
  const { intendedOffsetNs, answer, recorded = null } = send;
  const ms = (ns: number | null) => (ns === null ? null : (ns - intendedOffsetNs) / 1e6);
  return {
    exchange: idOf({ segment: send.segment, id: send.exchangeId }),
    send: send.index,
    at: formatInstantUs(startedAtUs + Math.round(intendedOffsetNs / 1e3)),
    ...picked(send, 'route', 'model', 'status'),
    ...shownCall(picked(send, 'grpcStatus')),
    result: resultOf(send),
    failed: send.actualOffsetNs !== null && hasFailed(send),
    ...picked(send, 'streamed', 'requestBytes', 'responseBytes'),
    ms: {
      sent: ms(send.actualOffsetNs),
      firstByte: ms(send.firstByteOffsetNs),
      firstToken: ms(answer?.firstTokenOffsetNs ?? null),
      lastByte: ms(send.lastByteOffsetNs),
    },
    tokens: { prompt: answer?.promptTokens ?? null, output: answer?.outputTokens ?? null },
    recorded: recorded && {
      status: recorded.status,
      ms: recorded.tookNs === null ? null : recorded.tookNs / 1e6,
      bytes: recorded.bytes,
    },
    check: send.check == null ? null : checkWord(send.check),
  };
}

function resultOf({ refused: isRefused, actualOffsetNs, cancelled, error }: Send): string {
  if (isRefused) return 'refused';
  if (actualOffsetNs === null) return 'unreached';
  return cancelled ? 'cancelled' : (error ?? 'completed');
}

/** Reads the payloads of sends from the replayed capture. @throws AppError CAPTURE_NOT_FOUND */
function payloadsOf(directory: string, run: Run | null, sends: readonly Send[], options: ShowOptions) {
  const places = options.capture === null ? capturePlaces(run?.capture ?? '', directory) : [options.capture];
  const named = places.find((place) => existsSync(place));
  if (named === undefined) {
    throw new AppError(
      'CAPTURE_NOT_FOUND',
      `the capture of this run is not there: ${places[0] ?? 'unnamed'}`,
      {
        hint: 'A run keeps no payloads: name its capture with --capture.',
      },
    );
  }
  const reader = new CaptureReader(resolveCaptureDirectory(named, 'read'), {
    encryptionKey: encryptionKeyOf(options),
  });
  try {
    return sends.map(({ segment, exchangeId }) => payloadOf(reader, { segment, id: exchangeId }, options));
  } finally {
    reader.close();
  }
}

function payloadOf(
  reader: CaptureReader,
  row: Pick<ExchangeRow, 'segment' | 'id'>,
  { payload, full, proto }: ShowOptions,
): ShownRequest['payload'] {
  if (!payload) return null;
  const found = reader.payload(row);
  const most = full ? LIMITS.shownBodyBytes : SHOWN_BODY_BYTES;
  const head = found?.request?.head ?? null;
  const types = head === null ? null : loadCallSchema(proto).of(parseRequestHead(head).target);
  return {
    request: shownMessage(found?.request ?? null, found?.requestChunks ?? [], most, types?.request),
    response: shownMessage(found?.response ?? null, found?.responseChunks ?? [], most, types?.response),
  };
}

function shownMessage(
  message: Message | null,
  times: ChunkTimes,
  most: number,
  type: MessageType | null = null,
): ShownMessage | null {
  if (message === null) return null;
  const { head, body } = message;
  const plain = body.kept === null ? null : withoutCoding(body.kept, head);
  const shown = plain?.subarray(0, most) ?? null;
  const utf8 = shown === null ? null : textOf(shown);
  return {
    head: latin1(head),
    body: shown === null ? null : (utf8 ?? Buffer.from(shown).toString('base64')),
    encoding: shown !== null && utf8 === null ? 'base64' : 'utf8',
    bytes: plain !== null && !body.truncated ? plain.length : body.bytes,
    shown: shown?.length ?? 0,
    ...shownMessages(message, times, type),
    ...(message.trailers === null ? {} : { trailers: latin1(message.trailers) }),
  };
}

/** The messages of a gRPC call, as far as they were kept. */
function shownMessages(
  { head, body }: Message,
  times: ChunkTimes,
  type: MessageType | null,
): Pick<ShownMessage, 'messages'> {
  const headers = headerPairsOf(head);
  const { kept } = body;
  if (kept === null || !isGrpc(headerValue(headers, 'content-type'))) return {};
  const coding = headerValue(headers, 'grpc-encoding');
  const { messages, end } = grpcMessagesOf(kept, LIMITS.shownRequests);
  const list = messages.map(({ compressed, from, to }, at) => {
    const offsetUs = times[2 * at];
    const plain = plainMessage(kept.subarray(from, to), compressed, coding);
    const read = plain === null ? null : messageJson(type, plain);
    const json = read?.stoppedAt === null ? read.json : null;
    return { offsetMs: offsetUs === undefined ? null : offsetUs / 1e3, bytes: to - from, compressed, json };
  });
  return { messages: { list, end } };
}

/** Decodes a body. It stays as stored if it is truncated or its coding is unknown. */
function withoutCoding(bytes: Uint8Array, head: Uint8Array): Uint8Array {
  try {
    return decodeContent(bytes, headerValue(headerPairsOf(head), 'content-encoding')).bytes;
  } catch (thrown) {
    if (thrown instanceof UnreadableBody) return bytes;
    throw thrown;
  }
}

/** Decodes UTF-8; null if the bytes are no text. A character that is cut at the end is left out. */
function textOf(bytes: Uint8Array): string | null {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes, { stream: true });
  } catch {
    return null;
  }
}
