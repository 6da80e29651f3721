import { type AnswerCheck, checkWord, type Send } from '../core/run.ts';
import type { Connection } from './database.ts';
import { ANSWERED_WHOLE } from './run-schema.ts';

/** What every send has. */
const COMMON = [
  ...['send_index', 'segment', 'exchange_id', 'route', 'model', 'request_bytes', 'response_bytes'],
  ...['intended_offset_ns', 'actual_offset_ns', 'start_offset_ns', 'first_byte_offset_ns'],
  ...['last_byte_offset_ns', 'status', 'streamed', 'warmup'],
];
/** What most have not, of models that do not stream: null, or zero, in the row of a plain send. */
const FURTHER = [
  ...['connection_wait_ns', 'error', 'refused', 'cancelled', 'content_events', 'first_token_offset_ns'],
  ...['last_token_offset_ns', 'gap_max_ns', 'gaps', 'prompt_tokens', 'output_tokens', 'finish_reason'],
  ...['check_result', 'check_pointer'],
];

/** Rows that one statement writes: running it costs as much as some of its rows. */
const ROWS_AT_ONCE = 16;

const NO_CHECK: readonly [null, null] = [null, null];

/** Writes rows of the `send_row` table and the labels they name. Most of its time goes by the values that are bound. */
export class SendInserter {
  readonly #plain: RowWriter;
  readonly #whole: RowWriter;
  readonly #insertLabel;
  readonly #labels = new Map<string, number>();
  #committedLabels = 0;

  constructor(connection: Connection) {
    const allOf = (columns: readonly string[]) => columns.map(() => '?');
    this.#plain = new RowWriter(
      connection,
      [...COMMON, 'refused', 'cancelled'],
      [...allOf(COMMON), '0', '0'],
    );
    this.#whole = new RowWriter(connection, [...COMMON, ...FURTHER], [...allOf(COMMON), ...allOf(FURTHER)]);
    this.#insertLabel = connection.prepare<[number, string]>('INSERT INTO label (id, text) VALUES (?, ?)');
  }

  /** To be called in a transaction, whose end is to be told of. */
  insert(sends: readonly Send[]): void {
    this.#plain.begin();
    this.#whole.begin();
    for (const send of sends) {
      const plain = isPlain(send);
      const writer = plain ? this.#plain : this.#whole;
      const at = this.#bindCommon(writer.bound, writer.at, send);
      if (!plain) bindFurther(writer.bound, at, send);
      writer.rowIsBound();
    }
    this.#plain.end();
    this.#whole.end();
  }

  committed(): void {
    this.#committedLabels = this.#labels.size;
  }

  /** Labels of a transaction that did not come about are not there. */
  rolledBack(): void {
    for (const text of [...this.#labels.keys()].slice(this.#committedLabels)) this.#labels.delete(text);
  }

  /** @returns where what else the row binds begins */
  #bindCommon(bound: unknown[], from: number, send: Send): number {
    let at = from;
    bound[at++] = send.index;
    bound[at++] = this.#labelOf(send.segment);
    bound[at++] = send.exchangeId;
    bound[at++] = send.route === null ? null : this.#labelOf(send.route);
    bound[at++] = send.model === null ? null : this.#labelOf(send.model);
    bound[at++] = send.requestBytes;
    bound[at++] = send.responseBytes;
    bound[at++] = send.intendedOffsetNs;
    bound[at++] = send.actualOffsetNs;
    bound[at++] = send.startOffsetNs;
    bound[at++] = send.firstByteOffsetNs;
    bound[at++] = send.lastByteOffsetNs;
    bound[at++] = send.status;
    bound[at++] = streamedColumn(send);
    bound[at++] = send.warmup ? 1 : 0;
    return at;
  }

  #labelOf(text: string): number {
    const known = this.#labels.get(text);
    if (known !== undefined) return known;
    const id = this.#labels.size + 1;
    this.#insertLabel.run(id, text);
    this.#labels.set(text, id);
    return id;
  }
}

/** Writes rows of one form, many at once where there are many. */
class RowWriter {
  /** Of the rows that are not written yet. Used again: what grows anew for each statement would be much garbage. */
  readonly bound: unknown[];
  readonly #one;
  readonly #many;
  /** Values that are bound in a row. */
  readonly #width: number;
  #rows = 0;

  constructor(connection: Connection, columns: readonly string[], values: readonly string[]) {
    const insert = (rows: number) => {
      const row = `(${values.join(', ')})`;
      const all = Array.from({ length: rows }, () => row).join(', ');
      return connection.prepare<unknown[]>(`INSERT INTO send_row (${columns.join(', ')}) VALUES ${all}`);
    };
    this.#one = insert(1);
    this.#many = insert(ROWS_AT_ONCE);
    this.#width = values.filter((value) => value === '?').length;
    this.bound = new Array<unknown>(ROWS_AT_ONCE * this.#width).fill(null);
  }

  /** Where the next row is to be bound. */
  get at(): number {
    return this.#rows * this.#width;
  }

  /** A batch that was given up may have left something. */
  begin(): void {
    this.#rows = 0;
  }

  rowIsBound(): void {
    this.#rows += 1;
    if (this.#rows < ROWS_AT_ONCE) return;
    // Each by itself: taken out of an array by the binding, a value costs half as much again.
    this.#many.run(...this.bound);
    this.begin();
  }

  /** Writes what is left, which is fewer than go at once. */
  end(): void {
    for (let from = 0; from < this.at; from += this.#width) {
      this.#one.run(...this.bound.slice(from, from + this.#width));
    }
    this.begin();
  }
}

function isPlain(send: Send): boolean {
  const { answer, error, connectionWaitNs, refused, cancelled, check = null } = send;
  if (answer !== null || error !== null || check !== null) return false;
  return connectionWaitNs === null && !refused && !cancelled;
}

/** In the order of `FURTHER`. */
function bindFurther(bound: unknown[], from: number, send: Send): void {
  const { answer } = send;
  const [result, pointer] = checkColumns(send.check ?? null);
  let at = from;
  bound[at++] = send.connectionWaitNs;
  bound[at++] = send.error;
  bound[at++] = send.refused ? 1 : 0;
  bound[at++] = send.cancelled ? 1 : 0;
  bound[at++] = answer?.contentEvents ?? null;
  bound[at++] = answer?.firstTokenOffsetNs ?? null;
  bound[at++] = answer?.lastTokenOffsetNs ?? null;
  bound[at++] = answer?.gapMaxNs ?? null;
  bound[at++] = answer?.gaps ?? null;
  bound[at++] = answer?.promptTokens ?? null;
  bound[at++] = answer?.outputTokens ?? null;
  bound[at++] = answer?.finish ?? null;
  bound[at++] = result;
  bound[at++] = pointer;
}

/** One column for both: what was to be a stream and came whole is neither. */
function streamedColumn({ streamed, unstreamed }: Send): number {
  return unstreamed ? ANSWERED_WHOLE : Number(streamed);
}

/** How an answer compares, in two columns. */
export function checkColumns(check: AnswerCheck | null): readonly [string | null, string | null] {
  if (check === null) return NO_CHECK;
  return [checkWord(check), check.result === 'mismatch' ? check.pointer : null];
}
