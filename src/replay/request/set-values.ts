import { UnreadableBody } from '../../core/errors.ts';
import type { Place } from '../../core/exchange.ts';
import { boundaryOf, partsOf } from '../../core/multipart.ts';
import { decodePercent } from '../../core/text.ts';
import { isPlain } from '../../inference/features.ts';
import type { PreparedRequest } from '../engine/messages.ts';
import { flatValue } from './build.ts';
import { editBody, JSON_LENGTH, spliceJson } from './edit-json.ts';

type Sendable = Pick<PreparedRequest, 'path' | 'headers' | 'body'>;

/** A longer value is no token, and servers refuse longer heads. */
const MOST_HEAD_CHARS = 4_096;
const HEADER_VALUE = /^[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?$/;
/** RFC 6265, and quotes, which servers send. */
const COOKIE_VALUE = /^[\x21-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]*$/;
/** A control character is part of no id. */
const TEXT = /^[^\p{Cc}]+$/u;

/**
 * Puts a live value into a request, in place of the recorded one. A header or cookie that was masked, and so left out, is
 * added.
 * @returns null if the value cannot be there, or the request has no such place
 */
export function withValue<Request extends Sendable>(
  request: Request,
  to: Place,
  value: string,
): Request | null {
  switch (to.in) {
    case 'header':
      return isForHead(value, HEADER_VALUE) ? withHeader(request, to.name, value) : null;
    case 'cookie':
      return isForHead(value, COOKIE_VALUE) ? withCookie(request, to.name, value) : null;
    case 'path':
      return isForHead(value, TEXT) ? withSegment(request, to.segment, value) : null;
    case 'query':
      return isForHead(value, TEXT) ? withQueryValue(request, to.name, value) : null;
    case 'form':
      return isForHead(value, TEXT) ? withFormField(request, to.name, value) : null;
    case 'json':
      return withJsonText(request, to.pointer, value);
    case 'event':
      return null;
  }
}

function isForHead(value: string, form: RegExp): boolean {
  return value.length <= MOST_HEAD_CHARS && form.test(value);
}

function withHeader<Request extends Sendable>(request: Request, name: string, value: string): Request {
  const headers = [...request.headers];
  let isSet = false;
  for (let at = 0; at < headers.length; at += 2) {
    if (headers[at]?.toLowerCase() !== name) continue;
    headers[at + 1] = value;
    isSet = true;
  }
  if (!isSet) headers.push(name, value);
  return { ...request, headers };
}

function withCookie<Request extends Sendable>(request: Request, name: string, value: string): Request {
  const recorded = flatValue(request.headers, 'cookie');
  const pairs = recorded === null ? [] : recorded.split(/; */).filter((pair) => pair !== '');
  const at = pairs.findIndex((pair) => pair.split('=', 1)[0]?.trim() === name);
  pairs[at < 0 ? pairs.length : at] = `${name}=${value}`;
  return withHeader(request, 'cookie', pairs.join('; '));
}

/** Leaves what may stand in a segment, so that ids stay as they are. */
function encoded(value: string): string {
  return value.replace(/[^\w\-.~!$'()*,;:@]/gu, encodeURIComponent);
}

function withSegment<Request extends Sendable>(
  request: Request,
  segment: number,
  value: string,
): Request | null {
  // Dots alone would name another directory, even if they were encoded.
  if (value === '.' || value === '..' || !value.isWellFormed()) return null;
  const question = request.path.indexOf('?');
  const end = question < 0 ? request.path.length : question;
  const segments = request.path.slice(0, end).split('/');
  if (segment < 0 || segments[segment + 1] === undefined) return null;
  segments[segment + 1] = encoded(value);
  return { ...request, path: segments.join('/') + request.path.slice(end) };
}

function withQueryValue<Request extends Sendable>(
  request: Request,
  name: string,
  value: string,
): Request | null {
  const question = request.path.indexOf('?');
  if (question < 0 || !value.isWellFormed()) return null;
  let isSet = false;
  const pairs = request.path
    .slice(question + 1)
    .split('&')
    .map((pair) => {
      const key = pair.split('=', 1)[0] ?? '';
      if (!pair.includes('=') || decodePercent(key) !== name) return pair;
      isSet = true;
      return `${key}=${encoded(value)}`;
    });
  return isSet ? { ...request, path: `${request.path.slice(0, question)}?${pairs.join('&')}` } : null;
}

function withJsonText<Request extends Sendable>(
  request: Request,
  pointer: string,
  value: string,
): Request | null {
  const { body, headers } = request;
  if (body === null || !isPlain(flatValue(headers, 'content-encoding')) || !value.isWellFormed()) return null;
  let isSet = false;
  const edited = editBody(body, flatValue(headers, JSON_LENGTH), (json) => {
    const next = spliceJson(json, pointer.split('/').slice(1), () => JSON.stringify(value));
    isSet = next !== null;
    return next ?? json;
  });
  if (!isSet) return null;
  const changed = { ...request, body: edited.body };
  return edited.jsonBytes === null ? changed : withHeader(changed, JSON_LENGTH, String(edited.jsonBytes));
}

function withFormField<Request extends Sendable>(
  request: Request,
  name: string,
  value: string,
): Request | null {
  const body = request.body === null ? null : Buffer.from(request.body);
  const contentType = flatValue(request.headers, 'content-type') ?? '';
  if (body === null || !isPlain(flatValue(request.headers, 'content-encoding'))) return null;
  try {
    for (const { headFrom, from, to } of partsOf(body, boundaryOf(contentType))) {
      const head = body.toString('latin1', headFrom, from);
      if (/;[ \t]*name="([^"\\]*)"/i.exec(head)?.[1] !== name) continue;
      return {
        ...request,
        body: Buffer.concat([body.subarray(0, from), Buffer.from(value), body.subarray(to)]),
      };
    }
  } catch (error) {
    // A form that servers may read in different ways has no places.
    if (!(error instanceof UnreadableBody)) throw error;
  }
  return null;
}
