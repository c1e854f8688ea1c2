"""Models of pydantic through every kind of step, and tasks."""

from decimal import Decimal
from typing import Annotated, Literal

from msgspec import Struct
from pydantic import BaseModel, Field, RootModel

from headrace import Pipeline, StepContext, step, task


class Circle(BaseModel):
    kind: Literal["circle"] = "circle"
    radius: Decimal = Field(gt=0)


class Square(BaseModel):
    kind: Literal["square"] = "square"
    side: int


Shape = Annotated[Circle | Square, Field(discriminator="kind")]


class Drawing(BaseModel):
    shapes: list[Shape]
    bad_step: str = ""
    title: str | None = Field(default=None, alias="drawingTitle")


class Drawn(Struct):
    """A struct with models in it."""

    first: Circle | None
    squares: dict[str, Square]


class Names(RootModel[list[str]]):
    """The result."""


def odd(context: StepContext[Drawing], name: str, output: object) -> object:
    """Return *output*, or, in the step that the params name, what its annotation does not say."""
    return Square.model_construct(side="wide") if context.params.bad_step == name else output


@step(runs_in="process")
def draw(context: StepContext[Drawing], shape: Square) -> Square:
    return odd(context, "draw", Square(side=shape.side * 2))  # type: ignore[return-value]


@step
def collect(context: StepContext[Drawing]) -> Drawn:
    squares: list[Square] = context.output(drawing)
    assert all(type(square) is Square for square in squares)
    circles = [shape for shape in context.params.shapes if isinstance(shape, Circle)]
    drawn = Drawn(circles[0] if circles else None, {str(square.side): square for square in squares})
    if context.params.bad_step == "collect":
        drawn.squares["bad"] = Square.model_construct(side="wide")
    return drawn


@step
async def choose(context: StepContext[Drawing]) -> list[Circle | Square]:
    drawn: Drawn = await context.output(collecting)
    chosen: list[Circle | Square] = [*drawn.squares.values(), *([drawn.first] if drawn.first else [])]
    return odd(context, "choose", chosen)  # type: ignore[return-value]


@step(runs_in="process")
def name(context: StepContext[Drawing]) -> Names:
    shapes: list[Circle | Square] = context.output(choosing)
    return Names([f"{context.params.title} {shape.kind}" for shape in shapes])


drawings = Pipeline("drawings", params=Drawing)
drawing = drawings.add(
    draw, for_each=lambda params: [shape for shape in params.shapes if isinstance(shape, Square)]
)
collecting = drawings.add(collect)
choosing = drawings.add(choose)
drawings.add(name, result=True)


@task
async def resize(width: int, height: int = 3) -> str:
    """Resize in the loop."""
    return f"{width}x{height}"


@task
def scale(context: StepContext, shape: Shape, factor: int = 2) -> Square:
    """Scale in a thread."""
    context.log("scaling", kind=shape.kind)
    assert isinstance(shape, Square)
    return Square(side=shape.side * factor)


@task(runs_in="process", retries=1, version=2, name="measure_words")
def measure(words: list[str]) -> dict[str, int]:
    """Measure in a process."""
    return {word: len(word) for word in words}
