import { describe, expect, test } from 'vitest';
import type { SendError } from '../../../src/core/run.ts';
import { DEAD_PORT } from '../../support/free-port.ts';
import { answer, type Respond } from '../../support/raw-server.ts';
import { outgoing, play, serve, transportTo } from '../../support/transport-stage.ts';

describe('a request that fails', () => {
  test.each<[SendError, string, Respond]>([
    ['closed_early', 'no answer and a close', (_request, socket) => socket.end()],
    ['reset', 'no answer and a reset', (_request, socket) => socket.resetAndDestroy()],
    [
      'closed_early',
      'a body cut short',
      (_r, socket) => socket.end('HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf'),
    ],
    [
      'closed_early',
      'a chunked body cut short',
      (_r, socket) => socket.end('HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nab'),
    ],
    [
      'closed_early',
      'a last chunked body cut short',
      (_r, socket) =>
        socket.end('HTTP/1.1 200 OK\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n5\r\nab'),
    ],
    [
      'protocol',
      'a broken chunk',
      (_r, socket) => socket.write('HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n'),
    ],
    ['protocol', 'no HTTP at all', (_request, socket) => socket.write('SSH-2.0-OpenSSH_9.7\r\n')],
    [
      'protocol',
      'a head beyond all bounds',
      (_r, socket) => socket.write(`HTTP/1.1 200 OK\r\nx: ${'y'.repeat(300_000)}\r\n`),
    ],
    [
      'protocol',
      'an upgrade nobody asked for',
      (_r, socket) => socket.write('HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n'),
    ],
  ])('is %s for %s', async (error, _title, respond) => {
    const server = await serve(respond);
    expect((await play(transportTo(server.origin), outgoing())).error).toBe(error);
  });

  test('is a reset in the middle of a body when it is one', async () => {
    const server = await serve((_request, socket) => {
      socket.write('HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nsome', () =>
        setTimeout(() => socket.resetAndDestroy(), 20),
      );
    });
    const outcome = await play(transportTo(server.origin), outgoing());
    expect(outcome).toMatchObject({ error: 'reset', status: 200, bytes: 4 });
  });

  test('is reset_on_reuse when the connection had answered before and ends without a byte', async () => {
    const server = await serve(({ nth }, socket) => {
      if (nth === 0) socket.write(answer());
      else socket.resetAndDestroy();
    });
    const transport = transportTo(server.origin);
    expect((await play(transport, outgoing())).error).toBeNull();
    expect(await play(transport, outgoing())).toMatchObject({ error: 'reset_on_reuse', reused: true });
    expect((await play(transport, outgoing())).error).toBeNull();
    expect(server.connections).toBe(2);
  });

  test('is connect_refused where nobody listens', async () => {
    const outcome = await play(transportTo(`http://127.0.0.1:${DEAD_PORT}`), outgoing());
    expect(outcome).toEqual({
      events: ['error'],
      status: null,
      bytes: 0,
      error: 'connect_refused',
      reused: false,
    });
  });

  test('is connect_failed for a name that does not resolve', async () => {
    const outcome = await play(transportTo('http://no-such-host.invalid:80'), outgoing());
    expect(outcome.error).toBe('connect_failed');
  });

  test('is first_byte_timeout or idle_timeout when the target falls silent', async () => {
    const silent = await serve(() => undefined);
    const halfway = await serve((_r, socket) =>
      socket.write('HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf'),
    );
    const bounds = { firstByteTimeoutMs: 100, idleTimeoutMs: 100 };
    expect((await play(transportTo(silent.origin, bounds), outgoing())).error).toBe('first_byte_timeout');
    expect((await play(transportTo(halfway.origin, bounds), outgoing())).error).toBe('idle_timeout');
  });

  test.each([
    ['a head that comes byte by byte', 'HTTP/1.1 200 OK\r\nx-slow: '.padEnd(150, 'x').split('')],
    ['interim answers without end', Array<string>(150).fill('HTTP/1.1 103 Early Hints\r\n\r\n')],
  ])('is first_byte_timeout for %s', async (_title, words) => {
    const dripping = await serve((_request, socket) => {
      const left = [...words, 'HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n'];
      const timer = setInterval(() => {
        socket.write(left.shift() ?? '');
        if (left.length === 0) clearInterval(timer);
      }, 10);
      socket.on('close', () => clearInterval(timer));
    });
    const bounds = { firstByteTimeoutMs: 100, idleTimeoutMs: 5_000 };
    const { error } = await play(transportTo(dripping.origin, bounds), outgoing());
    expect(error).toBe('first_byte_timeout');
  });

  test('is no time-out while a word comes now and then, however long the whole takes', async () => {
    const slow = await serve((_request, socket) => {
      socket.write('HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\n');
      let left = 6;
      const timer = setInterval(() => {
        socket.write('x');
        left -= 1;
        if (left === 0) clearInterval(timer);
      }, 200);
    });
    const bounds = { firstByteTimeoutMs: 1_000, idleTimeoutMs: 1_000 };
    expect(await play(transportTo(slow.origin, bounds), outgoing())).toMatchObject({ error: null, bytes: 6 });
  });

  test('is what it was aborted for, connected or not, and its connection is not used again', async () => {
    const server = await serve(() => undefined);
    const transport = transportTo(server.origin);
    const early = await play(transport, outgoing(), (handle) => handle.abort('stopped'));
    expect(early).toMatchObject({ error: 'stopped', events: ['error'] });
    const late = await play(transport, outgoing(), (handle) =>
      setTimeout(() => handle.abort('total_timeout'), 50),
    );
    expect(late).toMatchObject({ error: 'total_timeout', events: ['start', 'body written', 'error'] });
  });
});
