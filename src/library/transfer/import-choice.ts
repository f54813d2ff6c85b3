/**
 * Which images of a file an import takes, and what they will be called: known from the file's tables alone, so that a
 * name that is taken is refused before anything is copied.
 */
import { foldCase } from '../../base/fold.ts'
import { refuse } from '../../base/refusal.ts'
import { ok, type Result } from '../../base/result.ts'
import type { Source } from '../../wim/source.ts'
import type { Architecture, ImageFacts } from '../../wim/xml.ts'
import { defaultFileName, parseDescription, parseFileName, parseImageName } from '../names.ts'

/** An index from 1, an image's name, or every image of the file. */
export type Selection =
  | { readonly kind: 'all' }
  | { readonly kind: 'index'; readonly index: number }
  | { readonly kind: 'name'; readonly name: string }

/** What the rows will say. */
export type Names = { readonly name: string; readonly description: string; readonly fileName: string }

export type Purpose =
  | {
      readonly kind: 'new'
      /** What was asked for; the rest comes from the file. */
      readonly wishes: Partial<Names>
      readonly sourceName: string
      readonly group: string
      /** File names of the group, folded. */
      readonly takenFiles: readonly string[]
    }
  | {
      readonly kind: 'replacement'
      /** The image whose content it becomes, as messages name it. */
      readonly of: string
      /** What it must be of: a default stays one for its architecture. Absent: of any. */
      readonly architecture: Architecture | undefined
    }

export type Chosen = {
  readonly sourceIndex: number
  readonly facts: ImageFacts
  readonly element: string
  readonly bootable: boolean
  /** Of a new image. */
  readonly names: Names | undefined
}

type Found = Omit<Chosen, 'names'>

export function choose(source: Source, select: Selection, purpose: Purpose): Result<readonly Chosen[]> {
  const all = source.document.images.map((image, i) => ({
    ...image,
    sourceIndex: i + 1,
    bootable: source.header.bootIndex === i + 1,
  }))
  if (all.length === 0)
    return refuse('not-found', 'the file holds no image', 'It may be one part of a set, or a resource-only WIM.')
  const found = selected(all, select)
  if (!found.ok) return found
  return purpose.kind === 'new' ? named(found.value, purpose) : replacing(found.value, purpose)
}

function listed(images: readonly Found[]): string {
  const text = images.map((image) => `${image.sourceIndex} "${image.facts.name}"`).join(', ')
  return `The file holds: ${text.length > 500 ? `${text.slice(0, 500)} …` : text}.`
}

function selected(all: readonly Found[], select: Selection): Result<readonly Found[]> {
  switch (select.kind) {
    case 'all':
      return ok(all)
    case 'index': {
      const found = all[select.index - 1]
      return found ? ok([found]) : refuse('not-found', `the file has no image ${select.index}`, listed(all))
    }
    case 'name': {
      const wanted = foldCase(select.name)
      const found = all.filter((image) => foldCase(image.facts.name) === wanted)
      const [only] = found
      const name = select.name.slice(0, 80)
      if (!only) return refuse('not-found', `the file has no image named "${name}"`, listed(all))
      if (found.length > 1)
        return refuse(
          'ambiguous',
          `${found.length} images of the file are named "${name}"`,
          `Name it by index. ${listed(all)}`,
        )
      return ok([only])
    }
  }
}

function named(images: readonly Found[], purpose: Extract<Purpose, { kind: 'new' }>): Result<readonly Chosen[]> {
  const { wishes, sourceName } = purpose
  const several = images.length > 1
  if (several && (wishes.name !== undefined || wishes.fileName !== undefined))
    return refuse(
      'bad-request',
      `the file holds ${images.length} images; one name cannot serve them all`,
      'Pick one with --index, or leave --name and --file-name out.',
    )
  const taken = new Set(purpose.takenFiles)
  const chosen: Chosen[] = []
  for (const image of images) {
    const { facts, sourceIndex } = image
    const name = parseImageName(wishes.name ?? (facts.name || facts.displayName || `Image ${sourceIndex}`))
    if (!name.ok) return name
    const description = parseDescription(wishes.description ?? facts.description)
    if (!description.ok) return description
    // Of several each file name gets its index, as WDS appends a number.
    const fileName = parseFileName(wishes.fileName ?? defaultFileName(sourceName, several ? sourceIndex : undefined))
    if (!fileName.ok) return fileName
    if (taken.has(foldCase(fileName.value)))
      return refuse(
        'exists',
        `group "${purpose.group}" already has a file "${fileName.value}"`,
        'Choose another file name, or remove that image first.',
      )
    chosen.push({ ...image, names: { name: name.value, description: description.value, fileName: fileName.value } })
  }
  return ok(chosen)
}

function replacing(
  images: readonly Found[],
  purpose: Extract<Purpose, { kind: 'replacement' }>,
): Result<readonly Chosen[]> {
  const [only, ...more] = images
  if (!only || more.length > 0)
    return refuse(
      'ambiguous',
      `the file holds ${images.length} images; ${purpose.of} can become one of them`,
      `Name it with --index. ${listed(images)}`,
      { images: images.slice(0, 100).map((image) => image.facts.name.slice(0, 255)) },
    )
  const { architecture } = only.facts
  if (purpose.architecture !== undefined && architecture !== purpose.architecture)
    return otherArchitecture(purpose.of, purpose.architecture, architecture)
  return ok([{ ...only, names: undefined }])
}

/** A replacement that would leave the machines of an architecture with the default of another one. */
export function otherArchitecture(
  image: string,
  architecture: Architecture | undefined,
  becomes: Architecture | undefined,
): Result<never> {
  return refuse(
    'boot-default',
    `${image} is the default of ${architecture ?? 'its architecture'}, and the file's image is of ${becomes ?? 'none that it names'}`,
    'Make another image the default first, or this one no longer: wimcast image set NAME --boot-default off.',
    { architecture, becomes },
  )
}
