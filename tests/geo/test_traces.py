"""Traces, clean and dirty."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geo.distance import distance_m
from geo.traces import TraceError, TracePoint, read_gpx, read_recording, read_trace

T_MS = 1_277_548_200_000  # 2010-06-26T10:30:00Z


def gpx(*points, namespace='xmlns="http://www.topografix.com/GPX/1/1"', tag="trkpt"):
    body = "".join(f"<{tag} {place}>{inner}</{tag}>" for place, inner in points)
    track = f"<trk><trkseg>{body}</trkseg></trk>"
    return f'<?xml version="1.0"?><gpx version="1.1" {namespace}>{track}</gpx>'.encode()


def at(lat, lon, time=None, ele=None):
    inner = (f"<ele>{ele}</ele>" if ele is not None else "") + (f"<time>{time}</time>" if time else "")
    return f'lat="{lat}" lon="{lon}"', inner


def test_points_come_with_time_place_and_height():
    document = gpx(
        at(52.5, 13.4, "2010-06-26T10:30:00Z", 34.5), at(52.6, 13.5, "2010-06-26T12:30:01.5+02:00")
    )
    assert read_gpx(document) == [
        TracePoint(T_MS, 52.5, 13.4, 34.5),
        TracePoint(T_MS + 1_500, 52.6, 13.5, None),
    ]


@pytest.mark.parametrize("namespace", ["", 'xmlns="http://www.topografix.com/GPX/1/0"'])
@pytest.mark.parametrize("tag", ["trkpt", "rtept"])
def test_any_version_and_routes_too(namespace, tag):
    document = gpx(
        at(1, 2, "2010-06-26T10:30:00"), at(1, 3, "2010-06-26T10:30:01"), namespace=namespace, tag=tag
    )
    assert [point.t_ms for point in read_gpx(document)] == [T_MS, T_MS + 1_000]


def test_times_rise_whatever_the_file_says():
    document = gpx(
        at(1, 1, "2010-06-26T10:30:05Z"),
        at(2, 2, "2010-06-26T10:30:00Z"),
        at(3, 3, "2010-06-26T10:30:00Z", 5),
        at(4, 4),
        at(5, 5, "yesterday"),
        at(6, 6, "1970-01-01T00:00:00Z"),
        at(7, 7, "2010-13-45T99:00:00Z"),
    )
    assert [(point.t_ms - T_MS, point.lat) for point in read_gpx(document)] == [(0, 2), (5_000, 1)]


def test_what_is_no_place_is_left_out_and_a_jump_stays():
    document = gpx(
        at(1, 1, "2010-06-26T10:30:00Z"),
        at("nan", 1, "2010-06-26T10:30:01Z"),
        at(91, 1, "2010-06-26T10:30:02Z"),
        at("x", 1, "2010-06-26T10:30:03Z"),
        ("", ""),
        at(1, 181, "2010-06-26T10:30:04Z", "high"),
        at(2, 1, "2010-06-26T10:30:05Z", "inf"),
    )
    assert [(p.lat, p.lon, p.ele_m) for p in read_gpx(document)] == [
        (1, 1, None),
        (1, -179, None),
        (2, 1, None),
    ]
    assert read_recording(document).left_out == 4


@pytest.mark.parametrize("time", [None, "2010-06-26T10:30:00Z", "1980-01-06T00:00:00Z"])
def test_a_trace_without_usable_times_is_walked_at_a_steady_pace(time):
    points = read_gpx(gpx(at(0, 0, time), at(0, 0.001, time), at(0, 0.001, time)), pace_mps=2.0)
    second_ms = round(distance_m(0, 0, 0, 0.001) / 2 * 1_000)
    assert [point.t_ms for point in points] == [0, second_ms, second_ms + 1_000]


def test_a_recorder_that_lost_its_power_leaves_a_trace():
    document = gpx(*(at(52 + n / 1_000, 13, f"2010-06-26T10:30:{n:02}Z") for n in range(60)))
    assert len(read_gpx(document[: len(document) // 2])) > 20


@pytest.mark.parametrize(
    "document",
    [b"", b"x", b"<gpx/>", b"<html><body>404</body></html>", gpx(at("nan", 1)), b"\xff\xfe\x00",
     b'<?xml version="1.0" encoding="klingon"?><gpx/>'],
)  # fmt: skip
def test_what_holds_no_points_is_no_trace(document):
    with pytest.raises(TraceError):
        read_gpx(document)


def test_entities_that_explode_are_not_expanded():
    bomb = '<!DOCTYPE b [<!ENTITY a "aaaaaaaaaa">' + "".join(
        f'<!ENTITY {chr(98 + n)} "{f"&{chr(97 + n)};" * 10}">' for n in range(12)
    )
    with pytest.raises(TraceError):
        read_gpx((bomb + "]><gpx><trkpt lat='1' lon='1'><name>&m;</name></trkpt></gpx>").encode())


@settings(max_examples=200)
@given(st.binary(max_size=300), st.integers(0, 400), st.integers(0, 300))
def test_no_bytes_do_anything_but_parse_or_raise_trace_error(noise, start, length):
    document = gpx(*(at(52 + n, 13, f"2010-06-26T10:30:{n:02}Z", 3) for n in range(5)))
    try:
        points = read_gpx(document[:start] + noise + document[start + length :])
    except TraceError:
        return
    times = [point.t_ms for point in points]
    assert times == sorted(set(times))


def test_csv_is_read_by_the_names_of_its_columns():
    document = (
        "\ufefftime, Latitude ,LONGITUDE,accuracy\n2010-06-26T10:30:00Z,52.5,13.4,8\n"
        "1277548201000,52.6,13.5,\n1277548202,52.7,13.6,-1\nx,52.8,13.7,3\n,91,0,0\n\n"
    )
    assert read_trace(document.encode()) == [
        TracePoint(T_MS, 52.5, 13.4, None, 8.0),
        TracePoint(T_MS + 1_000, 52.6, 13.5, None, None),
        TracePoint(T_MS + 2_000, 52.7, 13.6, None, None),
    ]
    assert read_recording(document.encode()).left_out == 2


@pytest.mark.parametrize("mark", [";", "\t"])
def test_csv_may_be_divided_by_semicolons_or_tabs(mark):
    document = "lat,lon,t_ms\n52.5,13.4,1277548200000\n52.6,13.5,1277548201000\n".replace(",", mark)
    assert [point.lat for point in read_trace(document.encode())] == [52.5, 52.6]


@pytest.mark.parametrize(
    "shape",
    [
        {"type": "LineString", "coordinates": [[13.4, 52.5], [13.5, 52.6, 7]]},
        {"type": "MultiLineString", "coordinates": [[[13.4, 52.5]], [[13.5, 52.6, 7]]]},
    ],
)
@pytest.mark.parametrize("name", ["coordTimes", "times"])
def test_geojson_lines_may_tell_their_times(shape, name):
    times = ["2010-06-26T10:30:00Z", "2010-06-26T10:30:01Z"]
    feature = {"type": "Feature", "geometry": shape, "properties": {name: times}}
    told = [TracePoint(T_MS, 52.5, 13.4), TracePoint(T_MS + 1_000, 52.6, 13.5, 7.0)]
    for document in (
        feature,
        {"type": "FeatureCollection", "features": [feature, None, 5, {"geometry": []}]},
    ):
        assert read_trace(json.dumps(document).encode()) == told
    assert read_trace(json.dumps(shape).encode())[0].t_ms == 0


def test_geojson_points_are_a_trace_in_the_order_of_their_times():
    points = [
        {"type": "Feature", "geometry": {"type": "Point", "coordinates": [n, n]},
         "properties": {"t_ms": T_MS - n * 1_000, "acc_m": 4}}
        for n in range(3)
    ]  # fmt: skip
    found = read_trace(json.dumps({"type": "FeatureCollection", "features": points}).encode())
    assert [(point.lat, point.acc_m) for point in found] == [(2.0, 4.0), (1.0, 4.0), (0.0, 4.0)]


@pytest.mark.parametrize(
    "document",
    [b"", b"a,b\n1,2\n", b"{", b"{}", b'{"type":"Polygon","coordinates":[]}', b"\xff\xfe\x00", b"[1,2]",
     b'{"features":5,"geometry":7,"properties":[]}', b"lat,lon\nnan,5\n", b"lat,lon\n", bytes(range(256))],
)  # fmt: skip
def test_what_is_no_trace_of_any_kind_is_said(document):
    with pytest.raises(TraceError):
        read_trace(document)


@given(st.binary(max_size=300) | st.text(max_size=100).map(lambda text: b"lat,lon,time\n" + text.encode()))
@settings(max_examples=200)
def test_any_bytes_are_a_trace_or_none(document):
    try:
        points = read_trace(document)
    except TraceError:
        return
    assert all(-90 <= point.lat <= 90 for point in points)
