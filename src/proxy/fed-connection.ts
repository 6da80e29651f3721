import { LOSS_REASONS, type LossReason } from '../core/accounting.ts';
import type { Clock } from '../core/clock.ts';
import type { CommittingSink } from '../core/ports.ts';
import type { ConnectionOrigin } from './connection-origin.ts';
import {
  CLOSE_CAUSES,
  FLAG_TURN_START,
  FRAME,
  type Frame,
  type PipeSettlement,
  readDoubles,
} from './frames.ts';
import type { Fate } from './ledger.ts';
import type { AssemblyContext } from './recorder/exchange-builder.ts';
import { HttpAssembler, type Settlement } from './recorder/http-assembler.ts';
import type { WorkMark } from './work-mark.ts';

export interface RecorderDeps {
  readonly sink: CommittingSink;
  readonly context: AssemblyContext;
  readonly clock: Clock;
  /** Where word is left of what is being worked at; null where nobody will read it. */
  readonly mark?: WorkMark | null;
}

/** Where a connection stood when the recorder first heard of it. */
interface FeedStart {
  readonly origin: ConnectionOrigin;
  /** Of the client connection, within the recorder's life. */
  readonly number: number;
  readonly clientOffset: number;
  readonly serverOffset: number;
  /** It had been going on before, unrecorded. */
  readonly resync: boolean;
}

/** One connection as it comes through the pipe: its assembly, and the way of its settlements to sink and pipe. */
export class FedConnection {
  readonly #connection: number;
  readonly #deps: RecorderDeps;
  readonly #assembly: HttpAssembler;
  readonly #answer: (settlement: PipeSettlement) => void;
  readonly #onRecorded: (bytes: number, turns: number) => void;
  #protocol = 'http/1.1';
  #settledBytes: number;

  constructor(
    connection: number,
    deps: RecorderDeps,
    start: FeedStart,
    answer: (settlement: PipeSettlement) => void,
    onRecorded: (bytes: number, turns: number) => void,
  ) {
    this.#connection = connection;
    this.#deps = deps;
    this.#answer = answer;
    this.#onRecorded = onRecorded;
    this.#settledBytes = start.clientOffset + start.serverOffset;
    const { origin, number, clientOffset, serverOffset } = start;
    this.#assembly = new HttpAssembler(deps.context, {
      connection: number,
      peer: origin.peer,
      sink: (settled) => this.#settle(settled),
      onOpaque: (protocol) => this.#onOpaque(protocol),
      onPipelined: () => this.#tell('pipelined'),
      ...(start.resync ? { resync: { reason: 'writer_down', clientOffset, serverOffset } } : {}),
    });
  }

  take(frame: Frame): void {
    const assembly = this.#assembly;
    if (frame.type === FRAME.clientBytes) {
      const turnStart = (frame.flags & FLAG_TURN_START) !== 0;
      assembly.clientBytes(frame.atNs, frame.payload, turnStart);
    } else if (frame.type === FRAME.serverBytes) assembly.serverBytes(frame.atNs, frame.payload);
    else if (frame.type === FRAME.clientEnd) assembly.clientEnd(frame.atNs);
    else if (frame.type === FRAME.serverEnd) assembly.serverEnd(frame.atNs);
    else if (frame.type === FRAME.gap) {
      const [clientBytes = 0, serverBytes = 0, turns = 0] = readDoubles(frame.payload);
      assembly.gap(LOSS_REASONS[frame.flags] ?? 'corrupt', clientBytes, serverBytes, turns);
    } else if (frame.type === FRAME.close) {
      const [clientBytes = 0, serverBytes = 0] = readDoubles(frame.payload);
      assembly.close(frame.atNs, CLOSE_CAUSES[frame.flags] ?? 'shutdown');
      this.#countProtocol(clientBytes + serverBytes);
    }
  }

  /** Nobody will say how it ended: what was open is lost. */
  abandon(nowNs: number, because: LossReason): void {
    this.#assembly.gap(because, 0, 0);
    this.#assembly.close(nowNs, 'shutdown');
    this.#countProtocol(this.#settledBytes);
  }

  #onOpaque(protocol: string): void {
    this.#protocol = protocol;
    this.#tell('opaque');
  }

  #tell(kind: 'opaque' | 'pipelined'): void {
    const amounts = { clientEndOffset: 0, serverEndOffset: 0, exchanges: 0 };
    this.#answer({ kind, because: null, connection: this.#connection, ...amounts });
  }

  #countProtocol(bytes: number): void {
    this.#deps.sink.addProtocolUse({ protocol: this.#protocol, connections: 1, bytes });
  }

  /** Hands an exchange to the sink; false when that cannot store it. */
  #keep(settled: Settlement): boolean {
    return settled.kind !== 'recorded' || this.#deps.sink.append(settled.exchange);
  }

  #settle(settled: Settlement): void {
    const { clientEndOffset, serverEndOffset } = settled;
    const bytes = clientEndOffset + serverEndOffset - this.#settledBytes;
    this.#settledBytes += bytes;
    const fate = this.#keep(settled) ? fateOf(settled) : NOT_ENCODABLE;
    const exchanges = exchangesOf(settled);
    const connection = this.#connection;
    if (fate.kind === 'recorded') {
      // Spelled out, as nearly all are of this kind.
      const { kind, because } = fate;
      this.#onRecorded(bytes, settled.turns);
      this.#answer({ kind, because, connection, clientEndOffset, serverEndOffset, exchanges });
    } else this.#answer({ ...fate, connection, clientEndOffset, serverEndOffset, exchanges });
  }
}

/** The sink could not take it: nobody may be told that it was recorded. */
const NOT_ENCODABLE: Fate = { kind: 'lost', because: 'encode_failed' };

const RECORDED: Fate = { kind: 'recorded', because: null };

/** Of what was lost unread, its turns are all that is known: without them coverage would look whole. */
function exchangesOf(settled: Settlement): number {
  if (settled.kind === 'recorded') return 1;
  return settled.kind === 'lost' ? Math.max(settled.exchanges, settled.turns) : settled.exchanges;
}

function fateOf(settled: Settlement): Fate {
  if (settled.kind === 'lost') return { kind: 'lost', because: settled.reason };
  if (settled.kind === 'omitted') return { kind: 'omitted', because: settled.cause };
  return RECORDED;
}
