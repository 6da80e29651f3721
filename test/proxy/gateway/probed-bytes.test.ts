import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import type { ServerResponse } from 'node:http';
import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { LIMITS } from '../../../src/core/limits.ts';
import { ProbeBudget, ProbedBytes } from '../../../src/proxy/gateway/probed-bytes.ts';
import { temporaryDirectory } from '../../support/temp-dir.ts';
import { atEnd, rawUpstream, startGateway, tcp, until } from './support.ts';

const ROOM = LIMITS.gatewayProbedBytes / LIMITS.readBytes;

/** Exchanges of which each was let read on once. */
function probing(budget: ProbeBudget, count: number): ProbedBytes[] {
  return Array.from({ length: count }, () => {
    const one = new ProbedBytes(budget);
    expect(one.mayProbe()).toBe(true);
    return one;
  });
}

describe('what is read of answers that are held back', () => {
  it('is no more in all than there is room for, and goes on as soon as some client has taken its own', () => {
    const budget = new ProbeBudget();
    const [first] = probing(budget, ROOM);
    const late = new ProbedBytes(budget);
    // However often it is asked, it is one shortage.
    for (let look = 0; look < 3; look += 1) expect(late.mayProbe()).toBe(false);
    expect(budget.shortages).toBe(1);
    first?.release();
    expect(late.mayProbe()).toBe(true);
    expect(first?.mayProbe()).toBe(false);
    expect(budget.shortages).toBe(2);
  });

  it('counts as what it was, once it is known', () => {
    const budget = new ProbeBudget();
    for (const one of probing(budget, ROOM)) one.came(LIMITS.readBytes / 2);
    probing(budget, ROOM / 2);
    expect(new ProbedBytes(budget).mayProbe()).toBe(false);
  });

  it('is given back once, whatever comes later', () => {
    const budget = new ProbeBudget();
    for (const one of probing(budget, ROOM)) {
      one.release();
      one.came(LIMITS.readBytes);
      one.release();
    }
    probing(budget, ROOM);
    expect(new ProbedBytes(budget).mayProbe()).toBe(false);
  });

  it('is a MiB of one answer at most, until its client takes it', () => {
    const one = new ProbedBytes(new ProbeBudget());
    let bytes = 0;
    while (one.mayProbe()) {
      one.came(LIMITS.readBytes);
      bytes += LIMITS.readBytes;
    }
    expect(bytes).toBe(LIMITS.probedBytes);
    one.release();
    expect(one.mayProbe()).toBe(true);
  });
});

describe('clients that do not read', () => {
  /** What an answer is held with before it is probed: the write that was not taken, and another one behind it. */
  const HELD_BYTES = 2 * LIMITS.readBytes;

  it('keep no more of their answers in a gateway than its budget, however many they are', async () => {
    const clients = (1.5 * LIMITS.gatewayProbedBytes) / LIMITS.probedBytes;
    const responses: ServerResponse[] = [];
    const note = (message: unknown) => responses.push((message as { response: ServerResponse }).response);
    subscribe('http.server.request.start', note);
    atEnd(() => unsubscribe('http.server.request.start', note));
    const answer = Buffer.alloc(2 * LIMITS.probedBytes);
    const head = `HTTP/1.1 200 OK\r\nContent-Length: ${answer.length}\r\n\r\n`;
    const port = await rawUpstream((socket) => {
      socket.once('data', () => {
        socket.write(head);
        socket.write(answer);
      });
    });
    // For a unix socket the kernel holds little itself.
    const path = `${temporaryDirectory()}/in.sock`;
    const { gateway } = await startGateway(port, {
      pairs: [{ listen: { kind: 'unix', path }, target: tcp(port) }],
    });
    for (let nth = 0; nth < clients; nth += 1) {
      const socket = connect(path).pause();
      socket.on('error', () => undefined).write('GET / HTTP/1.1\r\nHost: m\r\n\r\n');
      atEnd(() => socket.destroy());
    }
    const held = () => responses.length === clients && responses.every((one) => one.writableNeedDrain);
    await until(held, 20_000);
    for (let probe = 0; probe < 20; probe += 1) {
      gateway.limits.walk();
      await sleep(10);
    }
    const heldBytes = responses.reduce((sum, { writableLength }) => sum + writableLength, 0);
    expect(heldBytes).toBeLessThanOrEqual(LIMITS.gatewayProbedBytes + clients * HELD_BYTES);
  });
});
