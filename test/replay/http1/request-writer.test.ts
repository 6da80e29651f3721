import type { Socket } from 'node:net';
import { describe, expect, test } from 'vitest';
import { RequestWriter, requestFrame } from '../../../src/replay/http1/request-writer.ts';
import { outgoing } from '../../support/transport-stage.ts';

/** All that is written of a request. */
function written(parts: Parameters<typeof outgoing>[0]): string {
  const request = outgoing(parts);
  const { head, tail } = requestFrame(request, 'models:8000');
  return head + (request.body?.toString('latin1') ?? '') + tail;
}

describe('the bytes of a request', () => {
  test('are its own lines between those of the connection and those of the body', () => {
    expect(
      written({ path: '/a?b', headers: ['X-B', '1', 'x-b', 'caf\u00e9'], body: Buffer.from('hi') }),
    ).toBe(
      'POST /a?b HTTP/1.1\r\nhost: models:8000\r\nconnection: keep-alive\r\nX-B: 1\r\nx-b: caf\u00e9\r\n' +
        'content-length: 2\r\n\r\nhi',
    );
  });

  test('name another host where one is asked for, in its place and once', () => {
    expect(written({ headers: ['A', '1', 'HOST', 'other', 'B', '2'], body: null })).toBe(
      'POST /0 HTTP/1.1\r\nhost: other\r\nconnection: keep-alive\r\nA: 1\r\nB: 2\r\ncontent-length: 0\r\n\r\n',
    );
    expect(written({ headers: ['Host', ''], body: null })).toContain('\r\nhost: \r\n');
  });

  test('say that there is no content where a method would have some', () => {
    expect(written({ method: 'GET', headers: [], body: null })).toBe(
      'GET /0 HTTP/1.1\r\nhost: models:8000\r\nconnection: keep-alive\r\n\r\n',
    );
    expect(written({ method: 'PUT', headers: [], body: null })).toContain('\r\ncontent-length: 0\r\n\r\n');
  });

  test('are chunked where they were, with a body or without', () => {
    expect(written({ headers: [], body: null, chunked: true })).toBe(
      'POST /0 HTTP/1.1\r\nhost: models:8000\r\nconnection: keep-alive\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n',
    );
    expect(written({ headers: [], body: Buffer.alloc(26, 'x'), chunked: true })).toBe(
      `POST /0 HTTP/1.1\r\nhost: models:8000\r\nconnection: keep-alive\r\ntransfer-encoding: chunked\r\n\r\n` +
        `1a\r\n${'x'.repeat(26)}\r\n0\r\n\r\n`,
    );
  });
});

describe('a writer', () => {
  /** A socket that has everything still to write, as an encrypting one always has. */
  function socketOf(parts: object): { readonly socket: Socket; readonly held: Buffer[] } {
    const held: Buffer[] = [];
    const socket = { writableLength: 1, write: (bytes: Buffer) => held.push(bytes), ...parts };
    return { socket: socket as unknown as Socket, held };
  }

  function write(count: number, socket: Socket): void {
    const writer = new RequestWriter();
    for (let at = 0; at < count; at += 1)
      writer.write(socket, outgoing({ headers: [], body: Buffer.alloc(2_000, `${at}`) }), 'models:8000');
  }

  test('never writes over what is still to be written', () => {
    for (const parts of [{}, { encrypted: true }]) {
      const { socket, held } = socketOf(parts);
      write(3, socket);
      expect(held.map((bytes) => bytes.toString('latin1').slice(-3))).toEqual(['000', '111', '222']);
    }
  });

  test('takes about the memory of its requests where a socket encrypts them', () => {
    const { socket, held } = socketOf({ encrypted: true });
    write(64, socket);
    const memory = new Set(held.map(({ buffer }) => buffer));
    const bytes = [...memory].reduce((sum, { byteLength }) => sum + byteLength, 0);
    expect(bytes).toBeLessThan(64 * 8 * 1_024);
  });
});
