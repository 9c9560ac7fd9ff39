// Saying where I am: a click on the map or the browser's own position, repeated while the page is open.

const AGAIN_MS = 1000;
const AGAIN_TIMES = 3; // the engine believes a jump, and a fence, only after fixes that agree
const KEEP_MS = 25_000;
const CLICK_ACCURACY_M = 10;

export class Place {
  constructor({ socket, changed, refused }) {
    Object.assign(this, { socket, changed, refused });
    this.now = null;
  }

  /** I am here: [lat, lon] with this accuracy. */
  put(lat, lon, accuracy = CLICK_ACCURACY_M) {
    this.now = { lat, lon, accuracy: Math.min(5000, Math.max(1, accuracy)) };
    this.changed(this.now);
    clearTimeout(this.timer);
    this.tell(AGAIN_TIMES);
  }

  async tell(times = 0) {
    const place = this.now;
    if (!place) return;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.tell(times - 1), times > 0 ? AGAIN_MS : KEEP_MS);
    if (!this.socket.live) return;
    try {
      await this.socket.position([place.lat, place.lon, place.accuracy, Date.now()]);
    } catch (error) {
      if (error.code === 107 || (error.code === 124 && times === 0)) this.refused(error);
    }
  }

  /** Follows the browser's position until `stop`; rejects when the person or the browser says no. */
  follow() {
    return new Promise((resolve, reject) => {
      if (!navigator.geolocation) return reject(new Error("This browser can't tell where it is."));
      let first = true;
      navigator.geolocation.clearWatch(this.watching);
      this.watching = navigator.geolocation.watchPosition(({ coords }) => {
        if (first) this.put(coords.latitude, coords.longitude, coords.accuracy);
        else this.moved(coords);
        first = false;
        resolve(this.now);
      }, (error) => reject(new Error(error.message || "The browser did not tell where it is.")), { enableHighAccuracy: true });
    });
  }

  moved({ latitude, longitude, accuracy }) {
    this.now = { lat: latitude, lon: longitude, accuracy: Math.min(5000, Math.max(1, accuracy)) };
    this.changed(this.now);
    this.tell();
  }

  stop() {
    clearTimeout(this.timer);
    if (this.watching !== undefined) navigator.geolocation.clearWatch(this.watching);
    this.now = null;
    this.changed(null);
  }
}
