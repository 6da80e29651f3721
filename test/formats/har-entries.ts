/** An entry of an archive, as far as it is given. */
export interface Entry {
  startedDateTime?: string;
  time?: number;
  request?: object;
  response?: object;
  timings?: object;
}

/** The text of an archive. */
export function har(...entries: readonly Entry[]): string {
  return JSON.stringify({
    log: { version: '1.2', creator: { entries: [1] }, entries },
    more: { entries: [{}] },
  });
}

/** A chat request and its answer, with secrets. */
export function entry(parts: Entry = {}): Entry {
  return {
    startedDateTime: '2026-11-24T15:00:00.250+01:00',
    time: 30,
    request: {
      method: 'POST',
      url: 'https://user:secret@api.example/v1/chat/completions?api_key=sk-12345&n=1#top',
      headers: [
        { name: ':authority', value: 'api.example' },
        { name: 'Authorization', value: 'Bearer sk-secret' },
        { name: 'Content-Length', value: '99' },
      ],
      bodySize: 13,
      postData: { mimeType: 'application/json', text: '{"model":"m"}' },
    },
    response: {
      status: 200,
      statusText: 'OK',
      headers: [
        { name: 'Set-Cookie', value: 'sid=secret' },
        { name: 'content-encoding', value: 'br' },
        { name: 'Content-Type', value: 'application/json' },
      ],
      content: { size: 3, text: 'aGkh', encoding: 'base64' },
    },
    timings: { blocked: -1, dns: 2, send: 1, wait: 20, receive: 7 },
    ...parts,
  };
}

/** A request of a stated size. */
export function sized(bodySize: number, postData?: object): object {
  return { method: 'POST', url: 'http://h/x', headers: [], bodySize, ...(postData && { postData }) };
}

/** A response that has this content. */
export function answer(content: object): object {
  return { status: 200, headers: [], content };
}
