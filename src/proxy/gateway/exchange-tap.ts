import type { ConnectionOrigin } from '../connection-origin.ts';
import type { CloseCause } from '../frames.ts';
import type { RecorderLink } from '../recorder-link.ts';
import type { TapConnection } from '../tap-connection.ts';
import type { RawHeaders } from './guard.ts';

const CRLF = Buffer.from('\r\n');

/** How a body is delimited, and so how it is written down for the recorder. */
type BodyForm = 'none' | 'length' | 'chunked' | 'until_close';

/**
 * One exchange as the recorder is told of it: a connection of its own with one request and one answer, both as
 * their senders sent them. Heads are put together again from the lines as received, chunked bodies are chunked
 * again, so that both planes have one assembly and one form.
 */
export class ExchangeTap {
  readonly #tap: TapConnection;
  #request: BodyForm = 'none';
  #response: BodyForm = 'none';

  constructor(link: RecorderLink, origin: ConnectionOrigin) {
    this.#tap = link.open(origin, false);
  }

  /** The number of this exchange's own connection. */
  get connection(): number {
    return this.#tap.connection;
  }

  requestHead(line: string, headers: RawHeaders, chunked: boolean): void {
    this.#request = chunked ? 'chunked' : 'length';
    this.#tap.client(headOf(line, headers));
  }

  requestBytes(bytes: Buffer): void {
    this.#tap.restOfTurn(this.#request === 'chunked' ? chunkOf(bytes) : bytes);
  }

  requestEnd(trailers: RawHeaders): void {
    if (this.#request === 'chunked') this.#tap.restOfTurn(lastChunk(trailers));
  }

  responseHead(line: string, headers: RawHeaders, form: BodyForm): void {
    this.#response = form;
    this.#tap.server(headOf(line, headers));
  }

  responseBytes(bytes: Buffer): void {
    this.#tap.server(this.#response === 'chunked' ? chunkOf(bytes) : bytes);
  }

  responseEnd(trailers: RawHeaders): void {
    if (this.#response === 'chunked') this.#tap.server(lastChunk(trailers));
    else if (this.#response === 'until_close') this.#tap.serverEnd();
  }

  /** Bytes that are HTTP no longer, after an upgrade. */
  tunnelled(from: 'client' | 'server', bytes: Buffer): void {
    if (from === 'client') this.#tap.client(bytes);
    else this.#tap.server(bytes);
  }

  close(cause: CloseCause): void {
    this.#tap.close(cause);
  }
}

/** A message head as bytes. */
export function headOf(line: string, headers: RawHeaders): Buffer {
  let text = `${line}\r\n`;
  for (let at = 0; at < headers.length; at += 2) text += `${headers[at]}: ${headers[at + 1]}\r\n`;
  return Buffer.from(`${text}\r\n`, 'latin1');
}

function chunkOf(bytes: Buffer): Buffer {
  return Buffer.concat([Buffer.from(`${bytes.length.toString(16)}\r\n`, 'latin1'), bytes, CRLF]);
}

function lastChunk(trailers: RawHeaders): Buffer {
  return headOf('0', trailers);
}
