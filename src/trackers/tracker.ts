import type { PublicationDocument } from '../documents/publication.ts';

/** A file that belongs to a run. */
export interface Artefact {
  readonly name: string;
  readonly mediaType: string;
  readonly content: string;
}

/** The data for a tracker. It must not contain addresses. */
export interface TrackedRun {
  /** Experiment of MLflow; project of W&B and ClearML. */
  readonly experiment: string;
  readonly publication: PublicationDocument;
  readonly artefacts: readonly Artefact[];
}

/** The result of publishing a run. */
export interface Delivery {
  /** The run in the tracker: an id, or the path of its offline files. */
  readonly run: string;
  /** Number of published steps of a search. */
  readonly children: number;
  /** What was changed or left out because of a limit of the tracker. */
  readonly notes: readonly string[];
}
