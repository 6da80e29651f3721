import { InputProblem, shown } from './input-problem.ts';
import {
  checkedHeaders,
  checkFraming,
  checkStart,
  missingHeaders,
  type RequestDraft,
} from './request-draft.ts';

/**
 * Reads a raw HTTP/1.1 request message: head, blank line, body. A head that lacks nothing is kept byte for
 * byte; line ends of a file written by hand (LF) become CRLF, and a missing Host or length is put in.
 * @throws InputProblem when it is no complete, well-framed request.
 */
export function parseRawRequest(message: Buffer): RequestDraft {
  const { head, rest } = splitMessage(message);
  const lines = head.toString('latin1').slice(0, -4).split('\r\n');
  const start = /^(\S+) (\S+) HTTP\/1\.1$/.exec(lines[0] ?? '');
  if (!start) {
    throw new InputProblem(`${shown(lines[0] ?? '')} is no HTTP/1.1 request line`, { line: 1 });
  }
  const method = start[1] ?? '';
  const target = start[2] ?? '';
  checkStart(method, target);
  const headers = checkedHeaders(head);
  if (headers.length !== lines.length - 1) {
    const line = lines.findIndex((text, index) => index > 0 && text.indexOf(':') <= 0) + 1;
    throw new InputProblem('not a header line', { line: Math.max(line, 2) });
  }
  const chunked = headers.some(([name]) => name.toLowerCase() === 'transfer-encoding');
  const { body, trailers } = chunked ? decodeChunked(rest) : { body: rest, trailers: null };
  checkFraming(headers, body.length);
  const { first, last } = missingHeaders(method, headers, body.length, chunked);
  return { method, target, head: withHeaders(head, first, last), body, trailers };
}

/** The head with CRLF line ends and its blank line, and what follows it. */
function splitMessage(message: Buffer): { head: Buffer; rest: Buffer } {
  const crlf = message.indexOf('\r\n\r\n');
  const lf = message.indexOf('\n\n');
  if (crlf >= 0 && (lf < 0 || crlf < lf)) {
    return { head: message.subarray(0, crlf + 4), rest: message.subarray(crlf + 4) };
  }
  if (lf < 0) throw new InputProblem('no blank line ends the head', { hint: 'Put one after the headers.' });
  const text = message.toString('latin1', 0, lf + 2).replace(/\r?\n/g, '\r\n');
  return { head: Buffer.from(text, 'latin1'), rest: message.subarray(lf + 2) };
}

function withHeaders(
  head: Buffer,
  first: readonly (readonly [string, string])[],
  last: readonly (readonly [string, string])[],
): Buffer {
  if (first.length === 0 && last.length === 0) return head;
  const text = head.toString('latin1');
  const startEnd = text.indexOf('\r\n') + 2;
  const lines = (pairs: readonly (readonly [string, string])[]): string =>
    pairs.map(([name, value]) => `${name}: ${value}\r\n`).join('');
  const whole = text.slice(0, startEnd) + lines(first) + text.slice(startEnd, -2) + lines(last);
  return Buffer.from(`${whole}\r\n`, 'latin1');
}

/** Joins the chunks of RFC 9112 section 7.1; extensions are read over, trailers kept raw. */
function decodeChunked(coded: Buffer): { body: Buffer; trailers: Buffer | null } {
  const chunks: Buffer[] = [];
  let at = 0;
  for (;;) {
    const lineEnd = coded.indexOf('\r\n', at);
    const size = /^([0-9A-Fa-f]{1,8})[ \t]*(?:;.*)?$/.exec(
      coded.toString('latin1', at, Math.max(lineEnd, at)),
    );
    if (lineEnd < 0 || !size) throw new InputProblem(`no chunk begins at byte ${at} of the body`);
    const bytes = Number.parseInt(size[1] ?? '', 16);
    at = lineEnd + 2;
    if (bytes === 0) return { body: Buffer.concat(chunks), trailers: trailersOf(coded.subarray(at)) };
    chunks.push(coded.subarray(at, at + bytes));
    at += bytes;
    if (coded.toString('latin1', at, at + 2) !== '\r\n') {
      throw new InputProblem(`the chunk before byte ${at} of the body does not end where it says`);
    }
    at += 2;
  }
}

function trailersOf(section: Buffer): Buffer | null {
  if (section.equals(Buffer.from('\r\n'))) return null;
  const end = section.indexOf('\r\n\r\n');
  if (end < 0 || end + 4 !== section.length) {
    throw new InputProblem('the message goes on after its last chunk, or its trailers do not end');
  }
  return section.subarray(0, end + 2);
}
