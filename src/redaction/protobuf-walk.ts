import { UnreadableBody } from '../core/errors.ts';
import { LIMITS } from '../core/limits.ts';
import {
  fits,
  isPacked,
  type MessageField,
  type MessageType,
  ProtobufCursor,
  packedEnd,
  scalarAt,
  type TensorFields,
  typeOf,
  WIRE,
  WIRE_OF,
} from '../core/protobuf.ts';
import { coverElements, coverNumbers } from './binary-tensors.ts';
import { isPresets, strongerOf, type Treatment } from './body-rules.ts';
import { innerOf } from './json-walk.ts';
import { NOWHERE, type PointerState } from './pointer-states.ts';
import { isStructuralNumber, isStructuralWord } from './structural-fields.ts';
import type { ValueCover } from './value-masking.ts';

/** A value with what rules say of it. */
interface Place {
  readonly state: PointerState;
  /** The strongest treatment of the value and of those around it, and that of the values around it alone. */
  readonly treatment: Treatment | null;
  readonly outer: Treatment | null;
}

/** Bounds of a pointer that is noted beside a message. */
const NOTED_STEPS = 16;
const NOTED_NAME_CHARS = 64;
/** A tensor with this parameter has no data in the message. */
const SHARED_MEMORY = 'shared_memory_region';
const TEXT_TYPES: ReadonlySet<string> = new Set(['BYTES', 'DT_STRING']);

/**
 * Walks the fields of one protobuf message and masks in place what rules name, by the names that fields have in
 * protobuf's JSON. Lengths and wire types stay, so every other byte stays too. A field that is not known cannot be
 * named: if a rule could mean it, the body cannot be judged.
 */
export class ProtobufWalk {
  readonly #bytes: Buffer;
  readonly #cover: ValueCover;
  /** Steps to the current value, `*` for elements. */
  readonly #steps: string[] = [];
  /** How many fields around the current value say how to read a tensor. Presets leave their numbers. */
  #structures = 0;

  constructor(bytes: Buffer, cover: ValueCover) {
    this.#bytes = bytes;
    this.#cover = cover;
  }

  /** @throws UnreadableBody when it is no message of this type to its end, or nests too deep */
  run(type: MessageType, from: number, to: number, root: PointerState): void {
    this.#message(type, from, to, { state: root, treatment: root.treatment, outer: null }, 0);
  }

  #message(declared: MessageType, from: number, to: number, place: Place, depth: number): void {
    if (depth >= LIMITS.jsonDepth) throw new UnreadableBody('too_deep');
    const type = typeOf(declared, this.#bytes, from, to);
    const plainData = type.tensors === null ? null : this.#plainData(type, type.tensors, from, to, place);
    const elements = new Map<number, number>();
    const fields = new ProtobufCursor(this.#bytes, from, to);
    while (fields.next()) {
      const field = type.fields.get(fields.number);
      if (field === undefined || !fits(field, fields.wire)) {
        if (place.treatment !== null || !place.state.idle) throw new UnreadableBody('unknown_field');
        continue;
      }
      const index = elements.get(fields.number) ?? 0;
      elements.set(fields.number, index + 1);
      const isStructure = type.tensors?.structure.includes(fields.number) === true;
      const datum = type.tensors?.data === fields.number ? (plainData?.[index] ?? null) : null;
      // A parameter and its value have one name.
      if (!type.isValue) this.#steps.push(field.name);
      if (isStructure) this.#structures += 1;
      if (datum === null) this.#field(field, fields, this.#at(place, field), index, depth);
      else
        this.#datum(
          fields,
          datum,
          strongerOf(datum.treatment, this.#element(this.#at(place, field), index).treatment),
        );
      if (isStructure) this.#structures -= 1;
      if (!type.isValue) this.#steps.pop();
    }
    if (fields.stoppedAt !== null) throw new UnreadableBody('not_protobuf');
  }

  /** The place of a member. Inside a dropped value no other rule counts. */
  #at({ state, treatment }: Place, { name, alias }: Pick<MessageField, 'name' | 'alias'>): Place {
    const member = treatment?.covering === 'drop' ? NOWHERE : state.member(name, alias);
    return { state: member, treatment: strongerOf(treatment, member.treatment), outer: treatment };
  }

  #element(list: Place, index: number): Place {
    const inner = list.treatment === null ? null : innerOf(list.treatment, list.outer);
    return this.#at({ ...list, treatment: inner }, { name: `${index}`, alias: `${index}` });
  }

  #field(
    field: MessageField,
    { wire, from, to }: ProtobufCursor,
    place: Place,
    index: number,
    depth: number,
  ): void {
    const { type, repeated, message } = field;
    if (message?.isEntry === true) this.#entry(message, from, to, place, depth);
    else if (!repeated) this.#value(field, from, to, place, depth, false);
    else {
      this.#steps.push('*');
      if (isPacked(type, wire)) this.#packed(field, from, to, place, index);
      else this.#value(field, from, to, this.#element(place, index), depth, true);
      this.#steps.pop();
    }
  }

  #packed(field: MessageField, from: number, to: number, list: Place, before: number): void {
    if (list.treatment === null && list.state.idle) return;
    let index = before;
    for (let at = from; at < to; index += 1) {
      const end = packedEnd(this.#bytes, WIRE_OF[field.type], at, to);
      if (end < 0) throw new UnreadableBody('not_protobuf');
      this.#value(field, at, end, this.#element(list, index), 0, true);
      at = end;
    }
  }

  /** One member of a map. Its key is a name, as in JSON. */
  #entry(entry: MessageType, from: number, to: number, map: Place, depth: number): void {
    let key = '';
    const value = entry.fields.get(2);
    const fields = new ProtobufCursor(this.#bytes, from, to);
    while (fields.next()) if (fields.number === 1) key = this.#keyAt(entry.fields.get(1), fields);
    const inner = map.treatment === null ? null : innerOf(map.treatment, map.outer);
    const place = this.#at({ ...map, treatment: inner }, { name: key, alias: key });
    this.#steps.push(key);
    const again = new ProtobufCursor(this.#bytes, from, to);
    while (again.next()) {
      if (again.number === 1) continue;
      if (again.number !== 2 || value === undefined || !fits(value, again.wire)) {
        if (place.treatment !== null || !place.state.idle) throw new UnreadableBody('unknown_field');
      } else this.#value(value, again.from, again.to, place, depth, false);
    }
    this.#steps.pop();
    if (again.stoppedAt !== null) throw new UnreadableBody('not_protobuf');
  }

  #keyAt(field: MessageField | undefined, { wire, from, to }: ProtobufCursor): string {
    if (field === undefined || !fits(field, wire)) throw new UnreadableBody('not_protobuf');
    if (field.type === 'string') return this.#bytes.toString('utf8', from, to);
    return String(scalarAt(field.type, this.#bytes, from, to));
  }

  #value(field: MessageField, from: number, to: number, place: Place, depth: number, listed: boolean): void {
    const { type, message } = field;
    const { treatment, outer } = place;
    if (message !== null) {
      // A message that stands for its value has the treatment of a value.
      const inner = treatment === null || message.isValue ? treatment : innerOf(treatment, outer);
      this.#message(message, from, to, { ...place, treatment: inner }, depth + 1);
    } else if (type === 'string' || type === 'bytes') this.#text(from, to, treatment);
    else if (treatment !== null) this.#number(field, from, to, treatment, listed);
  }

  #text(from: number, to: number, treatment: Treatment | null): void {
    const text = this.#bytes;
    const plain = () => text.subarray(from, to);
    if (treatment === null) {
      this.#cover.urls(text, from, to, plain, () => this.#pointer());
      return;
    }
    const isUnlisted = treatment.covering === 'mask_unlisted';
    if (isUnlisted && isStructuralWord(this.#nameAround(), text.toString('latin1', from, to))) return;
    // A mask that is JSON would need escapes that are not decoded here.
    const how =
      treatment.covering === 'mask_json' ? ({ ...treatment, covering: 'mask' } as const) : treatment;
    this.#cover.string(text, from, to, isUnlisted ? this.#noted(how) : how, plain);
  }

  #number(field: MessageField, from: number, to: number, treatment: Treatment, listed: boolean): void {
    const { type, values } = field;
    const isUnlisted = treatment.covering === 'mask_unlisted';
    if (this.#structures > 0 && isPresets(treatment)) return;
    // As in JSON, where truth values are never masked, and those of an enum are words.
    if (type === 'bool' && treatment.covering !== 'drop') return;
    if (isUnlisted && isStructuralNumber(this.#nameAround(), listed)) return;
    if (isUnlisted && type === 'enum' && values?.has(Number(scalarAt(type, this.#bytes, from, to)))) return;
    const how = isUnlisted ? this.#noted(treatment) : treatment;
    if (WIRE_OF[type] === WIRE.varint) this.#cover.varint(this.#bytes, from, to, how);
    else coverNumbers(this.#bytes, from, to, how, this.#cover);
  }

  /** The name of the field with the current value, or of the list or map around it. */
  #nameAround(): string {
    return this.#steps.findLast((step) => step !== '*') ?? '';
  }

  #noted(treatment: Treatment): Treatment {
    return { ...treatment, name: this.#pointer() };
  }

  #pointer(): string {
    let pointer = '';
    for (const step of this.#steps.slice(0, NOTED_STEPS)) {
      if (step === '-' || step.length > NOTED_NAME_CHARS) break;
      pointer += `/${step.replaceAll('~', '~0').replaceAll('/', '~1')}`;
    }
    return pointer;
  }

  /** Masks the data of one tensor: words in texts, zeros in numbers. */
  #datum(
    { from, to }: ProtobufCursor,
    { datatype, hasLengths }: PlainDatum,
    treatment: Treatment | null,
  ): void {
    if (treatment === null || to === from) return;
    const how = treatment.covering === 'mask_unlisted' ? this.#noted(treatment) : treatment;
    if (!TEXT_TYPES.has(datatype)) coverNumbers(this.#bytes, from, to, how, this.#cover);
    else if (hasLengths) coverElements(this.#bytes, from, to, how, this.#cover);
    else throw new UnreadableBody('bad_tensors');
  }

  /**
   * What the plain data of a message's tensors are, in order, read before anything is masked.
   * @throws UnreadableBody when it is not clear which tensor they belong to
   */
  #plainData(
    type: MessageType,
    tensors: TensorFields,
    from: number,
    to: number,
    place: Place,
  ): readonly PlainDatum[] {
    const described: { readonly datatype: string; readonly shared: boolean; readonly field: string }[] = [];
    let data = 0;
    const fields = new ProtobufCursor(this.#bytes, from, to);
    while (fields.next()) {
      const field = type.fields.get(fields.number);
      if (fields.number === tensors.data) data += 1;
      if (fields.number !== tensors.tensors || field?.message == null || fields.wire !== WIRE.bytes) continue;
      described.push({
        ...this.#described(field.message, tensors, fields.from, fields.to),
        field: field.name,
      });
    }
    if (data === 0) return [];
    if (tensors.tensors === 0) {
      const { datatype } = this.#described(type, tensors, from, to);
      return Array.from({ length: data }, () => ({ datatype, hasLengths: false, treatment: null }));
    }
    const all = described.map((tensor, index) => ({ ...tensor, index }));
    const carried = data === all.length ? all : all.filter(({ shared }) => !shared);
    if (data !== carried.length) throw new UnreadableBody('bad_tensors');
    return carried.map(({ datatype, index, field }) => ({
      datatype,
      hasLengths: true,
      treatment: this.#contentsTreatment(type, tensors, place, field, index, datatype),
    }));
  }

  #described(type: MessageType, tensors: TensorFields, from: number, to: number) {
    let [datatype, shared] = ['', false];
    const fields = new ProtobufCursor(this.#bytes, from, to);
    while (fields.next()) {
      const field = type.fields.get(fields.number);
      if (field === undefined || !fits(field, fields.wire)) continue;
      if (fields.number === tensors.parameters)
        shared ||= this.#bytes.subarray(fields.from, fields.to).includes(SHARED_MEMORY);
      if (fields.number !== tensors.datatype) continue;
      datatype =
        field.type === 'enum'
          ? (field.values?.get(Number(scalarAt('enum', this.#bytes, fields.from, fields.to))) ?? '')
          : this.#bytes.toString('latin1', fields.from, fields.to);
    }
    return { datatype, shared };
  }

  /** The treatment that the data would have inside the description of their tensor. */
  #contentsTreatment(
    type: MessageType,
    tensors: TensorFields,
    place: Place,
    field: string,
    index: number,
    datatype: string,
  ): Treatment | null {
    const described = type.fields.get(tensors.tensors)?.message;
    const contents = [...(described?.fields.values() ?? [])].find(
      ({ message }) => message !== null && !message.isEntry,
    );
    const list = this.#at(place, { name: field, alias: field });
    if (contents === undefined) return list.treatment;
    const inside = this.#at(this.#element(list, index), contents);
    const name = tensors.contents[datatype];
    const fields = [...(contents.message?.fields.values() ?? [])];
    const named = fields.find((each) => each.name === name);
    const values = this.#at(inside, named ?? { name: '', alias: '' });
    const treatment = this.#element(values, 0).treatment;
    // Rules for single elements, or for contents of another type than the tensor's, cannot be applied to plain bytes.
    if (treatment === null && (name === undefined ? !inside.state.idle : !values.state.idle))
      throw new UnreadableBody('bad_tensors');
    return treatment;
  }
}

/** The plain data of one tensor. */
interface PlainDatum {
  readonly datatype: string;
  /** Whether the elements of texts follow their lengths. Other forms are not read. */
  readonly hasLengths: boolean;
  /** By the rules for the contents of the tensor. */
  readonly treatment: Treatment | null;
}
