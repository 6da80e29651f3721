import type { Duplex } from 'node:stream';
import type { Amount, Loss, Omission } from '../../src/core/accounting.ts';
import type { Exchange } from '../../src/core/exchange.ts';
import type { CommitResult } from '../../src/core/ports.ts';
import { Ledger } from '../../src/proxy/ledger.ts';
import type { ForwarderReading } from '../../src/proxy/messages.ts';
import type { Recorder } from '../../src/proxy/recorder.ts';
import { RecorderLink } from '../../src/proxy/recorder-link.ts';
import type { UnreportedLoss } from '../../src/proxy/recorder-reports.ts';
import { FrameQueue } from '../../src/proxy/tap/frame-queue.ts';
import type { TapConnection } from '../../src/proxy/tap-connection.ts';
import { CountingSink } from './counting-sink.ts';
import { ManualClock } from './manual-clock.ts';

const BUDGET_BYTES = 512 * 1024;
/** There is no room for its body, whatever waits. */
const LARGE_BYTES = BUDGET_BYTES + 1;
const LARGE_REQUEST = requestOf(LARGE_BYTES);
export const NOTHING: Amount = { bytes: 0, exchanges: 0 };

function requestOf(bytes: number): Buffer {
  const head = `POST /v1/x HTTP/1.1\r\nHost: h\r\nContent-Length: ${bytes}\r\n\r\n`;
  return Buffer.concat([Buffer.from(head), Buffer.alloc(bytes, 'x')]);
}

function responseOf(bytes: number): Buffer {
  return Buffer.concat([
    Buffer.from(`HTTP/1.1 200 OK\r\nContent-Length: ${bytes}\r\n\r\n`),
    Buffer.alloc(bytes),
  ]);
}

export function sumOf(...amounts: readonly Amount[]): Amount {
  return amounts.reduce(
    (sum, { bytes, exchanges }) => ({ bytes: sum.bytes + bytes, exchanges: sum.exchanges + exchanges }),
    NOTHING,
  );
}

/** A part of the capture: what it holds of the traffic, recorded or noted as lost. What is not committed dies. */
export class PartSink extends CountingSink {
  held: Amount = NOTHING;
  #uncommitted: Amount = NOTHING;
  wanted = false;
  #dead = false;

  die(): void {
    this.#dead = true;
  }

  override append({ request, response }: Exchange): boolean {
    const asked = request ? requestOf(request.body.bytes).length : 0;
    const answered = response ? responseOf(response.body.bytes).length : 0;
    this.#add({ exchanges: 1, bytes: asked + answered });
    return true;
  }

  override addLoss(loss: Loss): void {
    this.#add(loss);
  }

  override addOmission(omission: Omission): void {
    this.#add(omission);
  }

  override due(): boolean {
    return this.wanted;
  }

  override commit(): CommitResult {
    if (!this.#dead) this.held = sumOf(this.held, this.#uncommitted);
    this.#uncommitted = NOTHING;
    this.wanted = false;
    return { committed: 0, lost: 0, reason: null };
  }

  #add(amount: Amount): void {
    this.#uncommitted = sumOf(this.#uncommitted, amount);
  }
}

/** A pipe between a forwarder's life and a recorder's. */
export interface PipeLife {
  readonly slot: number;
  readonly ordinal: number;
  readonly theirs: Duplex;
  readonly ours: Duplex;
  readonly sink: PartSink;
  recorder: Recorder | null;
  /** What the capture held of it at the forwarder's last words. */
  heldAtLastWords: Amount;
  /** The recorder died before it came to its end. */
  cut: boolean;
  told: boolean;
}

/** A forwarder without sockets, from its start to its end. */
export class ForwarderLife {
  readonly #clock = new ManualClock();
  readonly #ledger = new Ledger();
  readonly #queue = new FrameQueue(BUDGET_BYTES);
  readonly link = new RecorderLink({ clock: this.#clock, ledger: this.#ledger, queue: this.#queue });
  readonly pipes: PipeLife[] = [];
  readonly #taps: ({ readonly tap: TapConnection; asked: boolean } | null)[] = [];
  /** What had passed by its last words; null before the first. */
  said: Amount | null = null;

  get passed(): Amount {
    const { bytes, turns } = this.#ledger.read().seen;
    return { bytes, exchanges: turns };
  }

  /** The next request of a connection, or the answer to its last one. */
  talk(index: number, large: boolean): void {
    this.#taps[index] ??= { tap: this.link.open(), asked: false };
    const { [index]: talk } = this.#taps;
    if (!talk) return;
    if (talk.asked) talk.tap.server(responseOf(20));
    else talk.tap.client(large ? LARGE_REQUEST : requestOf(10));
    talk.asked = !talk.asked;
  }

  hangUp(index: number): void {
    this.#taps[index]?.tap.close('client_end');
    this.#taps[index] = null;
  }

  flush(): void {
    this.#queue.flush();
  }

  die(): void {
    this.#queue.attach(null);
    this.pipes.at(-1)?.ours.destroy();
    this.pipes.at(-1)?.theirs.push(null);
  }

  async drain(): Promise<ForwarderReading> {
    for (const index of this.#taps.keys()) this.hangUp(index);
    return this.read(await this.link.finish(1_000));
  }

  read(untold: readonly UnreportedLoss[] = this.link.untold()): ForwarderReading {
    this.said = this.passed;
    for (const pipe of this.pipes) pipe.heldAtLastWords = pipe.sink.held;
    const { handed, noted } = this.link;
    return {
      atUs: 0,
      ledger: this.#ledger.read(),
      ...{
        open: 0,
        turnedAway: 0,
        failed: {},
        refused: {},
        queuedBytes: 0,
        handed,
      },
      untold: untold.map(dated),
      noted: noted.map(dated),
    };
  }

  /** What recorders had noted after its last words, and died before anybody heard of it. */
  get unheard(): Amount {
    if (this.said === null) return NOTHING;
    return sumOf(
      ...this.pipes
        .filter(({ cut }) => cut)
        .map(({ sink: { held }, heldAtLastWords: { bytes, exchanges } }) => ({
          bytes: held.bytes - bytes,
          exchanges: held.exchanges - exchanges,
        })),
    );
  }
}

function dated({ reason, bytes, turns }: UnreportedLoss): Loss {
  return { reason, bytes, exchanges: turns, fromUs: 0, toUs: 0 };
}
