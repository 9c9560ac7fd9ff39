// The outlines of H3 cells and which cells lie around one. Both never change, so the browser keeps them for good.

const outlines = new Map(); // cell → Promise of {cell, centre: [lon, lat], ring: [[lon, lat], …]}

/** The outline of a cell, or null when the engine does not know it. */
export function outline(cell) {
  let known = outlines.get(cell);
  if (!known) {
    known = fetch(`/v1/cells/${encodeURIComponent(cell)}`).then(read).catch(() => {
      outlines.delete(cell);
      return null;
    });
    outlines.set(cell, known);
  }
  return known;
}

async function read(response) {
  if (!response.ok) return null;
  const feature = await response.json();
  return shape(feature.geometry.coordinates[0]);
}

/** The cell of the honeycomb at a place of the map, given to two decimals; null when there is no answer. */
export async function cellAt(lat, lon) {
  const response = await fetch(`/v1/cells?lat=${lat.toFixed(2)}&lon=${lon.toFixed(2)}`).catch(() => null);
  if (!response?.ok) return null;
  const { id, geometry } = await response.json();
  outlines.set(id, Promise.resolve(shape(geometry.coordinates[0])));
  return id;
}

/** A ring of [lon, lat] on one side of ±180, with its centre. */
function shape(ring) {
  const [first] = ring;
  const drawn = ring.map(([lon, lat]) => [first[0] + turn(lon - first[0]), lat]);
  const corners = drawn.slice(0, -1);
  const mean = (axis) => corners.reduce((sum, corner) => sum + corner[axis], 0) / corners.length;
  return { ring: drawn, centre: [mean(0), mean(1)] };
}

/** An angle in degrees brought to [-180, 180). */
export function turn(degrees) {
  return ((((degrees + 180) % 360) + 360) % 360) - 180;
}
