import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { connect } from 'node:net';
import { constants } from 'node:os';
import { basename } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Clock } from '../../core/clock.ts';
import { AppError, reasonOf } from '../../core/errors.ts';
import { SUPERVISION } from '../../core/limits.ts';
import type { Asked } from '../../core/options.ts';
import { type Listener, listenersBelow } from '../../monitors/process-tree.ts';
import { type Endpoint, formatEndpoint, isReachedAs, placeOfTarget } from '../../proxy/net/endpoint.ts';
import { mustBeFree } from '../../proxy/net/listen.ts';
import { LISTEN } from './addresses.ts';
import type { RECORD_OPTIONS } from './record-options.ts';

/** Ports after the default one that are tried for clients. */
const PORTS_TRIED = 100;
/** What a shell reports for a process that a signal ended. */
const BY_SIGNAL = 128;
const PROBE_MS = 1_000;

interface ServedDeps {
  readonly clock: Clock;
  /** How long it may take until it listens. */
  readonly listensMs?: number;
}

/**
 * A server that was started to be recorded. It leads its own session, so that Ctrl-C in a terminal reaches only us: it
 * gets each signal once, after the recording is sealed.
 */
export class ServedCommand {
  readonly name: string;
  /** Resolves with its exit status, as a shell reports it. */
  readonly ended: Promise<number>;
  readonly #child: ChildProcess;
  readonly #deps: Required<ServedDeps>;
  #status: number | null = null;

  private constructor(name: string, child: ChildProcess, deps: ServedDeps) {
    this.name = name;
    this.#child = child;
    this.#deps = { listensMs: SUPERVISION.commandListensMs, ...deps };
    this.ended = new Promise((resolve) => {
      child.once('exit', (code, signal) => {
        this.#status = code ?? BY_SIGNAL + (signal === null ? 0 : constants.signals[signal]);
        // A shell may have left servers behind.
        this.#signalGroup('SIGTERM');
        resolve(this.#status);
      });
    });
  }

  /**
   * Starts a command with our input and output.
   * @throws AppError OPTION_INVALID if there is no such program
   */
  static async start([program = '', ...args]: readonly string[], deps: ServedDeps): Promise<ServedCommand> {
    try {
      const child = spawn(program, args, { stdio: 'inherit', detached: true });
      const served = new ServedCommand(basename(program), child, deps);
      await once(child, 'spawn');
      return served;
    } catch (cause) {
      throw new AppError('OPTION_INVALID', `${program} cannot be started: ${reasonOf(cause)}`, {
        hint: 'After --, give the command that starts the server: reprise record --dir captures/today -- python3 server.py.',
        cause,
      });
    }
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  /**
   * Waits until it listens.
   * @param stated where it listens, according to the user; empty to find its port
   * @param stopAsked ends the wait
   * @returns null if a stop came first
   * @throws AppError TARGET_UNREACHABLE if it ends or does not listen in time; OPTION_INVALID for several ports
   */
  async targets(
    stated: readonly Endpoint[],
    stopAsked: Promise<unknown>,
  ): Promise<readonly Endpoint[] | null> {
    const { clock, listensMs } = this.#deps;
    const stop = { asked: false };
    void stopAsked.then(() => {
      stop.asked = true;
    });
    const settling = new Settling(clock);
    const web = new WebPorts(clock);
    let others = '';
    for (const endNs = clock.nowNs() + listensMs * 1e6; clock.nowNs() < endNs; ) {
      if (stated.length > 0) {
        if ((await Promise.all(stated.map(accepts))).every(Boolean)) return stated;
      } else {
        const listeners = await listenersBelow(this.pid);
        if (settling.isOver(web.of(listeners))) return [this.#only(settling.listeners)];
        others = listeners.map(({ port }) => port).join(', ');
      }
      await Promise.race([sleep(SUPERVISION.commandPollMs), this.ended, stopAsked]);
      if (this.#status !== null) throw this.#endedEarly(this.#status);
      if (stop.asked) return null;
    }
    const where = stated.length === 0 ? 'any port' : stated.map(formatEndpoint).join(', ');
    const lacks = others === '' ? `did not listen on ${where}` : `did not answer HTTP/1.1 on port ${others}`;
    throw new AppError('TARGET_UNREACHABLE', `${this.name} ${lacks} within ${listensMs / 1000} s`, {
      hint: 'Give the address on which it listens, such as --target 127.0.0.1:8000. Without --target, ports of containers and of other users are not found.',
    });
  }

  #only(listeners: readonly Listener[]): Endpoint {
    const [first, ...others] = listeners.map(placeOf);
    if (first !== undefined && others.length === 0) return first;
    const ports = listeners.map(({ port }) => port).join(', ');
    throw new AppError('OPTION_INVALID', `${this.name} listens on several ports: ${ports}`, {
      hint: `Give the one to record, such as --target ${formatEndpoint(first as Endpoint)}.`,
    });
  }

  #endedEarly(status: number): AppError {
    return new AppError(
      'TARGET_UNREACHABLE',
      `${this.name} ended with status ${status} before it could be recorded`,
      {
        hint: 'See its messages above. A server that goes on in the background is recorded with --target alone.',
      },
    );
  }

  /** A terminal signals all processes of a group, a supervisor only the process that it started. */
  pass(signal: NodeJS.Signals): void {
    if (this.#status !== null) return;
    if (signal === 'SIGINT' || signal === 'SIGHUP') this.#signalGroup(signal);
    else this.#child.kill(signal);
  }

  /** Ends it and what it started. */
  async end(): Promise<void> {
    this.#signalGroup('SIGTERM');
    const timer = setTimeout(() => this.#signalGroup('SIGKILL'), SUPERVISION.commandEndsMs);
    await this.ended;
    clearTimeout(timer);
  }

  #signalGroup(signal: NodeJS.Signals): void {
    try {
      process.kill(-this.pid, signal);
    } catch {
      // No process of the group is left.
    }
  }
}

/** Some servers open several ports one after the other. Settled are those that were the same for a while. */
class Settling {
  readonly #clock: Clock;
  #sinceNs = 0;
  listeners: readonly Listener[] = [];

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  isOver(listeners: readonly Listener[]): boolean {
    const nowNs = this.#clock.nowNs();
    if (JSON.stringify(listeners) !== JSON.stringify(this.listeners)) this.#sinceNs = nowNs;
    this.listeners = listeners;
    return listeners.length > 0 && nowNs - this.#sinceNs >= SUPERVISION.commandSettlesMs * 1e6;
  }
}

function placeOf({ host, port }: Listener): Endpoint {
  // Where IPv6 is off, `::` cannot be reached as ::1.
  const isWildcard = host === '::' || host === '0.0.0.0';
  return { kind: 'tcp', host: isWildcard ? '127.0.0.1' : host, port, tls: false };
}

/** How long until a port is asked again that did not answer as HTTP does. */
const ASKED_AGAIN_NS = 1e9;

/**
 * The ports that answer HTTP/1.1. Model servers open a port for gRPC as well, often while the model is still loading
 * and long before the one for HTTP.
 */
class WebPorts {
  readonly #clock: Clock;
  /** Of each port, whether it answers HTTP, or else when it is asked next. */
  readonly #known = new Map<number, { answers: boolean; nextNs: number }>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  of(listeners: readonly Listener[]): readonly Listener[] {
    return listeners.filter((listener) => {
      const known = this.#known.get(listener.port) ?? { answers: false, nextNs: 0 };
      if (known.answers || this.#clock.nowNs() < known.nextNs) return known.answers;
      this.#known.set(listener.port, known);
      // While it is asked, it is not asked again.
      known.nextNs = Number.POSITIVE_INFINITY;
      void answersHttp(placeOf(listener)).then((answers) => {
        known.answers = answers;
        known.nextNs = this.#clock.nowNs() + ASKED_AGAIN_NS;
      });
      return false;
    });
  }
}

/** A server that answers nothing for so long is asked again: it may be loading its model. */
const ANSWERS_WITHIN_MS = 10_000;

/** Whether a server answers HTTP/1.1; false if it is silent, closes the connection, or answers with something else. */
function answersHttp(target: Endpoint): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(placeOfTarget(target)).unref();
    socket.setTimeout(ANSWERS_WITHIN_MS, () => socket.destroy());
    socket.write(`HEAD / HTTP/1.1\r\nHost: ${formatEndpoint(target)}\r\nConnection: close\r\n\r\n`);
    socket.once('data', (bytes) => {
      socket.destroy();
      resolve(bytes.toString('latin1', 0, 5) === 'HTTP/');
    });
    socket.once('error', () => resolve(false)).once('close', () => resolve(false));
  });
}

/** Whether a server accepts connections. */
function accepts(target: Endpoint): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(placeOfTarget(target));
    const answer = (accepted: boolean) => {
      socket.destroy();
      resolve(accepted);
    };
    socket.setTimeout(PROBE_MS, () => answer(false));
    socket.once('connect', () => answer(true)).once('error', () => answer(false));
  });
}

/** @throws AppError OPTION_INVALID if this system does not show who listens where */
export function mustShowPorts(): void {
  if (existsSync('/proc/net/tcp')) return;
  throw new AppError('OPTION_INVALID', 'this system does not show on which port a command listens', {
    hint: 'Give the address on which it will listen, such as --target 127.0.0.1:8000.',
  });
}

/** The default address for clients, or the first one after it that is free. */
export async function freeListen(targets: readonly Endpoint[]): Promise<Endpoint> {
  for (let port = LISTEN.port; port < LISTEN.port + PORTS_TRIED; port += 1) {
    const endpoint: Endpoint = { kind: 'tcp', host: LISTEN.host, port, tls: false };
    if (targets.some((target) => isReachedAs(endpoint, target))) continue;
    if (
      await mustBeFree(endpoint).then(
        () => true,
        () => false,
      )
    )
      return endpoint;
  }
  return { kind: 'tcp', host: LISTEN.host, port: 0, tls: false };
}

/** The same options, with addresses that were found. */
export function withPlaces(
  { stated, originOf }: Asked<typeof RECORD_OPTIONS>,
  places: { readonly target: readonly Endpoint[]; readonly listen: readonly Endpoint[] },
): Asked<typeof RECORD_OPTIONS> {
  const found = Object.entries(places).filter(([, endpoints]) => endpoints.length > 0);
  const texts = found.map(([key, endpoints]) => [key, endpoints.map(formatEndpoint)]);
  return { stated: { ...stated, ...Object.fromEntries(texts) }, originOf };
}
