import { InFlight, type InFlightLimits } from '../../src/replay/in-flight.ts';
import { type Descriptor, LAUNCH_SLOTS, LaunchPad } from '../../src/replay/launch-pad.ts';
import { Launcher } from '../../src/replay/launcher.ts';
import { type Launch, Launches } from '../../src/replay/launches.ts';
import type { OutgoingRequest } from '../../src/replay/send-batch.ts';
import type { LaidOut, SendHandle } from '../../src/replay/transport.ts';
import { ManualClock } from './manual-clock.ts';
import { ScriptedTransport } from './scripted-transport.ts';

const START_NS = 5_000_000_000;
/** Idle ones that a transport has. */
export const CONNECTIONS = 2 * LAUNCH_SLOTS;

/** A transport whose connections are numbers. */
class NumberedConnections extends ScriptedTransport {
  readonly idle: number[];
  /** Of connections that something is laid out for: what they ask when they end. */
  readonly needs = new Map<number, () => void>();
  readonly withdrawn: number[] = [];
  /** What happens while a sender takes something back. */
  onWithdraw = (): void => undefined;
  readonly discarded: number[] = [];

  constructor(clock: ManualClock, connections: number) {
    super(clock, () => ({ afterNs: Number.POSITIVE_INFINITY }));
    this.idle = Array.from({ length: connections }, (_, nth) => 10 + nth);
  }

  layOut(request: OutgoingRequest, into: Buffer, onNeeded: () => void): LaidOut | null {
    const { body } = request;
    const fd = body !== null && body.length > into.length ? undefined : this.idle.shift();
    if (fd === undefined) return null;
    this.needs.set(fd, onNeeded);
    return {
      descriptor: { fd, inode: 2 ** 40 + fd },
      bytes: into.write(`<${request.index}>`),
      launched: (): SendHandle => ({ abort: () => undefined }),
      withdraw: () => {
        this.needs.delete(fd);
        this.withdrawn.push(request.index);
        this.onWithdraw();
        this.idle.unshift(fd);
      },
      discard: () => {
        this.needs.delete(fd);
        this.discarded.push(fd);
      },
    };
  }
}

/** A sender's launches and the pacer's launcher over one pad, with a clock that a test moves. */
export class LaunchStage {
  readonly clock = new ManualClock(START_NS);
  readonly inFlight: InFlight;
  readonly transport: NumberedConnections;
  readonly launches: Launches;
  readonly launcher: Launcher;
  readonly pad = LaunchPad.create(1);
  /** What the sender has. */
  readonly planned: OutgoingRequest[];
  /** Whole requests and parts of them that were written, each with its descriptor. */
  readonly written: string[] = [];
  /** What the sender was told of each request. */
  readonly told: string[] = [];
  readonly launched: Launch[] = [];
  /** How many bytes the next writes take; what throws takes none. All where it says nothing. */
  readonly takes: (number | 'throws')[] = [];
  /** What happens while the pacer writes. */
  onWrite = (): void => undefined;

  constructor(
    planned: readonly OutgoingRequest[],
    connections = CONNECTIONS,
    limits: Partial<InFlightLimits> = {},
  ) {
    this.planned = [...planned];
    this.inFlight = InFlight.create({ maxRequests: 1_000, maxBodyBytes: 2 ** 30, ...limits });
    this.transport = new NumberedConnections(this.clock, connections);
    this.launches = new Launches({
      pad: this.pad,
      sender: 0,
      transport: this.transport,
      clock: this.clock,
      startNs: START_NS,
      plannedAt: (place) => this.planned[place] ?? null,
      onLaunch: (launch) => this.#onLaunch(launch),
      onOverdue: () => this.told.push(`overdue ${this.planned[0]?.index}`),
    });
    const pacers = new LaunchPad(this.pad.memory, 1);
    this.launcher = new Launcher(pacers, 1, this.inFlight, this.clock, (...write) => this.#write(...write));
  }

  /** The instant of the next request comes. @returns what its launch said; null where nothing was laid out */
  due(): boolean | null {
    return this.launcher.pass(0) ? this.launcher.launch(0) : null;
  }

  /** The sender sends its first request itself. */
  sendFirst(): void {
    this.told.push(`sent ${this.planned.shift()?.index}`);
    this.launches.skip();
  }

  /** Lets the time pass up to an offset of the run. */
  at(offsetNs: number): void {
    this.clock.advanceTo(START_NS + offsetNs);
  }

  #onLaunch(launch: Launch): void {
    const { kind } = launch.end;
    if (launch.index !== this.planned[0]?.index) throw new Error('this is not the one that comes first');
    this.told.push(`${kind} ${launch.index}`);
    this.launched.push(launch);
    if (kind === 'failed') launch.laidOut.discard();
    else if (kind !== 'launched') launch.laidOut.withdraw();
    if (kind !== 'failed' && kind !== 'left') this.planned.shift();
  }

  #write({ fd, inode }: Descriptor, bytes: Buffer, length: number): number {
    if (inode !== 2 ** 40 + fd) throw new Error('of another file');
    this.onWrite();
    const takes = this.takes.shift() ?? length;
    if (takes === 'throws') throw new Error('broken pipe');
    this.written.push(`${fd}: ${bytes.toString('latin1', 0, takes)}`);
    return takes;
  }
}
