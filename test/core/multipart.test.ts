import { describe, expect, it, vi } from 'vitest';
import { partsOf } from '../../src/core/multipart.ts';
import { bodyRedaction, cover } from '../support/body-redaction.ts';

const contentType = 'multipart/form-data; boundary="--x y"';
const part = (head: string, content: string) =>
  `----x y\r\nContent-Disposition: form-data; ${head}\r\n\r\n${content}\r\n`;
const END = '----x y--\r\n';
const MODEL = part('name="model"', 'whisper-1');
const SOUND = part(
  'name="file"; filename="secret.talk.wav"\r\nContent-Type: audio/wav',
  'RIFF\x00\xff secret\r\n-sound',
);

const multipart = (body: string, rules: string[] = [], presets = ['chat'], type = contentType) =>
  cover(bodyRedaction(rules, presets), Buffer.from(body, 'latin1'), { contentType: type });

describe('a form with files', () => {
  it('has the files covered that a preset names, and their names up to the extension', () => {
    const body = MODEL + SOUND + part('name="api_key"', 'secret') + END;
    const { text, names } = multipart(body);
    expect(text).toHaveLength(body.length);
    expect(text.startsWith(MODEL)).toBe(true);
    expect(text.slice(MODEL.length)).toMatch(
      /^----x y\r\nContent-Disposition: form-data; name="file"; filename="[a-z ]{11}\.wav"\r\nContent-Type: audio\/wav\r\n\r\n[a-z ]{21}\r\n----x y\r\n.*name="api_key"\r\n\r\n[a-z ]{6}\r\n----x y--\r\n$/,
    );
    expect(names).toEqual(['/file', '/api_key']);
  });

  it('has what is dropped blanked, and what is empty left', () => {
    const body = part('name="a"', 'secret') + part('name="b"', '') + END;
    expect(multipart(body, ['/*=drop']).text).toBe(part('name="a"', '      ') + part('name="b"', '') + END);
  });

  it.each([
    ['a file no rule names', part('name="other"; filename="a.bin"', 'x') + END, 'unknown_type'],
    ['another boundary', SOUND.replaceAll('----x y', '----z') + END, 'bad_multipart'],
    ['text before the first part', `secret\r\n${MODEL}${END}`, 'bad_multipart'],
    ['text after the last part', `${MODEL}${END}secret`, 'bad_multipart'],
    ['no end', MODEL, 'bad_multipart'],
    ['a part without a name', part('nam="x"', 'secret') + END, 'bad_multipart'],
    ['a part of two names', part('name="model"; name="file"', 'secret') + END, 'bad_multipart'],
    ['a part without a head', `----x y\r\nsecret\r\n${END}`, 'bad_multipart'],
    ['an encoded file name', part(`name="file"; filename*=UTF-8''secret`, 'x') + END, 'bad_multipart'],
    ['an unquoted file name', part('name="file"; filename=secret', 'x') + END, 'bad_multipart'],
  ])('with %s is dropped', (_, body, reason) => {
    expect(multipart(body)).toMatchObject({ kept: null, dropped: reason });
  });

  it('keeps no credential that stands in the head of a part', () => {
    const disposition = 'Content-Disposition: form-data; name="model"';
    const heads = [
      `Authorization: secret\r\n${disposition}`,
      `${disposition}\r\nX-Api-Key: secret`,
      `${disposition}\r\nContent-Secret: secret`,
      `${disposition}\r\n secret`,
      `${disposition}\r\nsecret`,
      `${disposition}\nAuthorization: secret`,
      `${disposition}\rAuthorization: secret`,
    ];
    for (const head of heads) {
      expect([head, multipart(`----x y\r\n${head}\r\n\r\nm\r\n${END}`).dropped]).toEqual([
        head,
        'bad_multipart',
      ]);
    }
  });

  it('keeps no text that stands beside what describes a part, in parameters and values nobody looks at', () => {
    const disposition = 'Content-Disposition: form-data; name="model"';
    const heads = [
      `${disposition}; password="secret"`,
      `${disposition}; x=secret`,
      `${disposition} secret`,
      `${disposition}; filename="a.wav"; filename="secret.wav"`,
      `${disposition}\r\nContent-Type: text/plain; x="secret"`,
      `${disposition}\r\nContent-Type: text/plain; charset="my secret: (all of it)"`,
      `${disposition}\r\nContent-Type: a secret`,
      `${disposition}\r\nContent-Type: text/plain\r\nContent-Type: audio/wav`,
      `${disposition}\r\nContent-Transfer-Encoding: secret`,
      `${disposition}\r\nContent-Length: secret`,
    ];
    for (const head of heads) {
      const { dropped } = multipart(`----x y\r\n${head}\r\n\r\nm\r\n${END}`);
      expect([head, dropped]).toEqual([head, 'bad_multipart']);
    }
  });

  it('is judged in no time where the head of a part is made to be tried in many ways', () => {
    for (const filler of ['; ', ' ;', ' ', ';'])
      expect(multipart(part(`name="model"${filler.repeat(3_000)}\x00`, 'm') + END).dropped).toBe(
        'bad_multipart',
      );
  });

  it.each([
    'audio/webm;codecs=opus',
    'audio/webm; codecs="vp8, opus"',
    'audio/L16;rate=16000; channels=1',
    'text/plain; charset="UTF-8";',
    'audio/wav; codecs=audio/pcm; samplerate=16000',
    'audio/wav; codecs="audio/pcm"',
    'audio/l16; rate=16000; endianness=little-endian',
    'application/vnd.api+json; version=1',
  ])('keeps the type of a part that says how it is to be read: %s', (type) => {
    const body = part(`name="model"\r\nContent-Type: ${type}`, 'm') + END;
    expect(multipart(body)).toMatchObject({ text: body, dropped: null });
  });

  it.each([
    'multipart/form-data; boundary="--x y"; boundary=YY',
    'multipart/form-data; boundary=YY; boundary="--x y"',
    'multipart/form-data; boundary="--x y"; BOUNDARY=YY',
    `multipart/form-data; boundary="--x y"; boundary*=utf-8''YY`,
    'multipart/form-data; boundary*0="--x"; boundary*1=" y"',
    'multipart/form-data; boundary="--x y", multipart/form-data; boundary=YY',
    'multipart/form-data; x=1, text/plain; boundary="--x y"',
    'multipart/form-data; x="; boundary=YY"; boundary="--x y"',
    'multipart/form-data; boundary="--x\\ y"',
    'multipart/form-data; boundary ="--x y"',
    'multipart/form-data; boundary= "--x y"',
    'multipart/form-data; boundary=--x y',
    'multipart/form-data; charset=a=b; boundary="--x y"',
    `multipart/form-data; ${'boundary '.repeat(10_000)}`,
  ])('is dropped where its type can be read in two ways (%#)', (type) => {
    expect(multipart(MODEL + END, [], ['chat'], type).dropped).toBe('bad_multipart');
  });

  it.each(['multipart/form-data; boundary="--x y"', 'Multipart/Form-Data;charset=utf-8;BOUNDARY="--x y";'])(
    'is read where there is one way: %s',
    (type) => {
      expect(multipart(MODEL + END, [], ['chat'], type).dropped).toBeNull();
    },
  );

  it.each(['----=_Part_1_2.3', "a'(b)+_./:=?"])(
    'is read where mailers’ boundaries stand without quotes: %s',
    (boundary) => {
      const body = (MODEL + END).replaceAll('----x y', `--${boundary}`);
      expect(multipart(body, [], ['chat'], `multipart/form-data; boundary=${boundary}`)).toMatchObject({
        text: body,
        dropped: null,
      });
    },
  );

  it.each(['x,y', 'x=y; boundary=z', 'boundary=x', 'x=y"z"', 'x=y z'])(
    'is dropped where one without quotes can be read in two ways: %s',
    (boundary) => {
      for (const read of [boundary, boundary.split(';')[0]]) {
        const body = (MODEL + END).replaceAll('----x y', `--${read}`);
        expect(multipart(body, [], ['chat'], `multipart/form-data; boundary=${boundary}`).dropped).toBe(
          'bad_multipart',
        );
      }
    },
  );

  it.each(['\n', '\r'])(
    'is dropped where a part has a boundary after a line end of another kind: %j',
    (end) => {
      const inner = ['----x y', 'Content-Disposition: form-data; name="password"', '', 'secret'].join(end);
      for (const value of [`m${end}${inner}`, inner])
        expect(multipart(part('name="model"', value) + END).dropped).toBe('bad_multipart');
      expect(multipart(part('name="model"', 'm ----x y') + END).dropped).toBeNull();
    },
  );

  it('is searched for a hidden boundary from end to end, and not at each of its dashes', () => {
    const searches = vi.spyOn(Buffer.prototype, 'indexOf');
    try {
      const dashes = '-'.repeat(70);
      const body = `--${dashes}\r\nContent-Disposition: form-data; name="a"\r\n\r\nx${'-'.repeat(5_000)}\r\n--${dashes}--\r\n`;
      partsOf(Buffer.from(body), dashes);
      expect(searches.mock.calls.length).toBeLessThan(10);
    } finally {
      searches.mockRestore();
    }
  });

  it('keeps the headers that describe a part, in any case and order', () => {
    const head = [
      'content-type: text/plain; charset=utf-8',
      'CONTENT-LENGTH:9',
      'Content-Transfer-Encoding: 8bit',
      'Content-Disposition: form-data; name="model"',
    ];
    const body = `----x y\r\n${head.join('\r\n')}\r\n\r\nwhisper-1\r\n${END}`;
    expect(multipart(body)).toMatchObject({ text: body, dropped: null });
  });

  it.each([
    'https://u:S3cret@h/a',
    'https%3A%2F%2Fu%3AS3cret%40h',
    'https://h/?token=S3cret',
    'https%3A%2F%2Fh%2F%3Ftoken%3DS3cret',
    'see https://h/a and\n//u:S3cret@h',
  ])('keeps no credential of a URL in a field, as other forms do: %s', (value) => {
    const { text, names } = multipart(MODEL + part('name="a"', value) + MODEL + END);
    const covered = text.slice(MODEL.length, -MODEL.length - END.length);
    expect(covered).toMatch(/name="a"\r\n\r\n[a-z ]+\r\n$/);
    expect(covered).toHaveLength(part('name="a"', value).length);
    expect(names).toEqual(['/a']);
  });

  it.each([
    'https://u:S3cret@h',
    'https%3A%2F%2Fu%3AS3cret%40h',
    'https://h/?token=S3cret',
    'a%3Ftoken%3DS3cret',
  ])('is dropped where a name has a credential of a URL: %s', (name) => {
    const body = part(`name="${name}"`, '1') + END;
    expect(multipart(body)).toMatchObject({ kept: null, names: [], dropped: 'bad_multipart' });
  });

  it('keeps what only looks like a credential, and parts of other types as they came', () => {
    const body =
      part('name="to"', 'joe@example.com & 1=1; https://h/a?size=2') +
      part('name="b"\r\nContent-Type: application/json', '{"u":"https://u:p@h"}') +
      part('name="c"\r\nContent-Type: text/plain', 'joe%40example.com') +
      END;
    expect(multipart(body)).toMatchObject({ text: body, names: [] });
  });

  it('without a boundary, or of another kind, is dropped', () => {
    expect(multipart(MODEL + END, [], ['chat'], 'multipart/form-data').dropped).toBe('bad_multipart');
    expect(multipart(MODEL + END, [], ['chat'], 'multipart/mixed; boundary=x').dropped).toBe('unknown_type');
  });
});
