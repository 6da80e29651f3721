import type { Distribution } from '../../documents/parts.ts';
import type { PayloadKindFigures, ProfileDocument } from '../../documents/profile.ts';
import { figure, table } from './figure.ts';
import { bytes, number, percent } from './profile-values.ts';

/** One figure for each protocol that requests came in. */
export function payloadSection({ payloads }: ProfileDocument): string {
  if (payloads === null || payloads.read === 0) return '';
  const of = payloads.complete ? 'every request' : 'a sample of the requests, evenly spread over the window';
  const unread = Object.entries(payloads.unread).filter(([, count]) => count > 0);
  const left =
    unread.length === 0
      ? ''
      : ` Not read: ${unread.map(([why, count]) => `${why.replaceAll('_', ' ')} ${number(count)}`).join(', ')}.`;
  return `${payloads.protocols.map((kind) => kindFigure(kind, of)).join('')}<p class="soft">${number(payloads.read)} payloads were looked into, ${of}.${left} Tokens ${payloads.tokenEstimate}.</p>`;
}

function kindFigure(kind: PayloadKindFigures, of: string): string {
  const rows = [
    row('body', kind.bodyBytes, bytes),
    row('batch', kind.batch, number),
    row('prompt tokens, reported', kind.promptTokens.reported, number),
    row('prompt tokens, counted', kind.promptTokens.counted, number),
    row('prompt tokens, estimated', kind.promptTokens.estimated, number),
    row('output tokens, reported', kind.outputTokens.reported, number),
    row('output tokens, estimated', kind.outputTokens.estimated, number),
    row('most tokens allowed', kind.maxTokens, number),
    row('tensors', kind.tensors.perRequest, number),
    row('images', kind.images.perRequest, number),
    row('image size', kind.images.bytes, bytes),
    row('image width, pixels', kind.images.width, number),
    row('image height, pixels', kind.images.height, number),
    row('parts of the form', kind.form.parts, number),
    row('part size', kind.form.partBytes, bytes),
  ].flatMap((cells) => (cells === null ? [] : [cells]));
  const shapes = kind.tensors.shapes
    .slice(0, 8)
    .map(({ shape, share }) => `${shape} ${percent(share)}`)
    .join(', ');
  const formats = Object.entries(kind.images.formats)
    .map(([format, count]) => `${format} ${number(count)}`)
    .join(', ');
  const facts = [
    kind.stream.asked === 0 ? '' : `Asked to be streamed: ${percent(kind.stream.share)}.`,
    shapes === ''
      ? ''
      : `Tensors: ${shapes}${kind.tensors.otherShapes === 0 ? '' : `, others ${number(kind.tensors.otherShapes)}`}.`,
    formats === '' ? '' : `Images: ${formats}.`,
    kind.images.byAddress === 0 ? '' : `Images sent as an address: ${number(kind.images.byAddress)}.`,
  ].filter((text) => text !== '');
  return figure(
    {
      title: `${kind.protocol}: ${number(kind.requests)} requests, ${percent(kind.share)}`,
      unit: 'as named in each row, over requests that state it',
      source: `bodies of ${of}`,
      lookFor: 'the spread between p50 and p99: a test with mean inputs misses what is slow',
    },
    `${table(
      [
        { title: 'what', kind: 'name' },
        { title: 'requests', kind: 'number' },
        ...['mean', 'p50', 'p90', 'p99', 'max'].map((title) => ({ title, kind: 'number' as const })),
      ],
      rows,
    )}${facts.length === 0 ? '' : `<p>${facts.join(' ')}</p>`}`,
  );
}

function row(
  name: string,
  distribution: Distribution,
  text: (value: number | null) => string,
): string[] | null {
  const { count, mean, p50, p90, p99, max } = distribution;
  if (count === 0) return null;
  return [
    name,
    number(count),
    ...[mean === null ? null : Number(mean.toPrecision(3)), p50, p90, p99, max].map(text),
  ];
}
