"""Train GoogLeNet, or another network, to tell images apart.

    python train.py                                      # real handwritten digits, no download, about a minute
    python train.py --preset cifar10-fast                # a whole recipe: a network that learns CIFAR-10 fast
    python train.py --data mnist                         # 70,000 digits, downloaded on first use
    python train.py --data cifar10 --width 1             # the full network on 32x32 colour photographs
    python train.py --data cifar10 --data-dir ../data    # files that are there already: ../data/cifar-10/*.bin
    python train.py --data my-pictures                   # a folder with one folder of pictures per class
    python train.py --data 'photos-{000..099}.tar'       # archives in WebDataset's form, however large
    python train.py --model cnn --optimizer adam --lr 0.002
    python train.py --weights runs/mnist-googlenet-1 --freeze stem,3a    # begin with what another run learnt
    python train.py --lr-find                            # no training: a range test that suggests a learning rate
    python train.py --resume runs/digits-googlenet-1     # go on after the last checkpoint, to the same bits
    python -m minidl launch -n 4 train.py --data mnist   # four processes share each batch
    python train.py --help                               # every option

Each run gets a folder of its own, runs/DATA-MODEL-NUMBER, with weights, figures and results.
"""

from dataclasses import dataclass

import minidl
import models
from minidl import optim, training
from minidl.data import PRESETS as AUGMENTATIONS
from minidl.data import DataLoader, load
from minidl.distributed import own_shards
from minidl.training import PRESETS, RECIPES, device, interval, number, one_of, option, size, switch, whole


@dataclass(frozen=True)
class Settings:
    """Every setting, and when to change it. Where the default is None, minidl/training/presets.py decides."""

    preset: str = option("none", "a whole recipe, listed in minidl/training/presets.py", one_of(["none", *PRESETS]))

    # What is learnt, and by which network.
    data: str = option("digits", "digits, mnist, fashion-mnist, cifar10, a folder with a folder per class, or x.tar")
    data_dir: str = option(None, "where the official files lie, in folders named like the data sets, if you have them")
    image_size: int = option(None, "side in pixels of the pictures of a folder; larger shows more", whole(8, 512))
    cache: str = option("0", "bytes of decoded pictures of a folder to keep on the disk, if they fit", size)
    model: str = option("googlenet", "the network; cnn is small and quick to read", one_of(models.MODELS))
    width: float = option(None, "factor on all channel counts; more learns more, slower", number(0, 8, above=True))

    weights: str = option(None, "a run, or a safetensors file, whose weights to begin with; for few images")
    freeze: str = option(None, "layers that keep those weights: stem,3a,... or all-but-head; for very few images")

    # How long and how fast. Longer training is the surest way to a better result.
    epochs: int = option(None, "passes over the training images", whole(1, 100_000))
    batch_size: int = option(None, "images per step; with a larger one raise --lr too", whole(1, 1 << 20))
    shards: int = option(0, "parts of a batch, for processes to share; 0: one, or 8 for many processes", whole(0, 4096))
    lr: float = option(None, "peak learning rate; lower it when the loss jumps or becomes NaN", number(0, above=True))
    bias_lr: float = option(0.0, "that of biases and norms; 0 for that of --lr", number(0))
    head_lr: float = option(0.0, "that of the classifier; 0 for that of --lr", number(0))
    optimizer: str = option("sgd", "adamw needs a lower --lr, such as 0.003", one_of(training.OPTIMIZERS))
    schedule: str = option("one-cycle", "how --lr rises and falls over the run", one_of(training.SCHEDULES))

    # Against learning by heart: more of these when training accuracy is far above validation.
    weight_decay: float = option(5e-4, "pull of the weights towards zero", number(0))
    bias_decay: float = option(0.0, "the same pull for biases and norms", number(0))
    label_smoothing: float = option(0.1, "share of each label that is spread over all classes", number(0, 0.99))
    augmentation: str = option("default", "random changes to training images", one_of(["default", *AUGMENTATIONS]))
    aux_weight: float = option(0.0, "weight of GoogLeNet's two auxiliary losses; the paper has 0.3", number(0))
    ema: float = option(None, "decay of averaged weights, such as 0.998; 0 for none", number(0, 0.999999))

    # How it is judged. To compare settings, leave these as they are: test images are for the end.
    validation: str = option("tenth", "none: learn from its images too, keep the last epoch", one_of(["tenth", "none"]))
    test_views: str = option("one", "many: the mean answer to moved and mirrored images", one_of(["one", "many"]))

    # Where and with what it runs; of these, only seed and device change a bit of the result.
    seed: int = option(0, "another one for another run of chance", whole(0, 2**64 - 1))
    device: str = option("cpu", "cpu, cuda, or auto: cuda where there is one", device)
    workers: int = option(0, "threads that prepare batches; more for folders of large pictures", whole(0, 64))
    output: str = option(None, "the run's folder, which must be new; default runs/DATA-MODEL-NUMBER")
    overwrite: bool = option(False, "replace the run in the folder --output", switch)
    log: str = option("none", "also write what TensorBoard shows (extra tensorboard)", one_of(training.LOGS))
    no_capture: bool = option(False, "run the Python of every step, instead of replaying recorded ones", switch)
    detect_anomaly: bool = option(False, "name the operation and layer of the first NaN; several times slower", switch)
    checkpoint_every: str = option("5m", "how much work a power cut may cost; epochs end with one anyway", interval)

    # In place of a new run to its end.
    resume: str = option(None, "the folder of a run to go on with; its settings are kept")
    lr_find: bool = option(False, "instead of training, a range test that suggests a learning rate", switch)
    max_steps: int = option(None, "stop after so many steps, for a smoke test", whole(1))


def main():
    """Read the settings, load the images, train, and evaluate on the test images."""
    training.join()  # the other processes, where several were started
    settings = training.parse(Settings, RECIPES, __doc__, presets=PRESETS)
    with training.usage_errors():  # a wrong value ends here: one line, exit status 2, nothing trained
        images = load(settings.data, settings.data_dir, image_size=settings.image_size, cache=settings.cache)
        images = images.without_validation() if settings.validation == "none" else images
        loaders = create_loaders(settings, images)
        state = create_state(settings, images, loaders["train"])
        if settings.lr_find:
            return find_learning_rate(settings, loaders["train"], state, f"{images.name}-{settings.model}")
        run = training.Run(settings, images, state)  # resumed, the state is read here
    with run:  # Ctrl-C or a loss that is NaN ends here: one line that says what is left
        train(settings, loaders, state, run)
        training.finish(run, state, images, loaders["test"])


def create_loaders(settings, images):
    """Batches for training (shuffled and augmented), validation and test."""
    options = dict(batch_size=settings.batch_size, num_workers=settings.workers, device=settings.device)
    augmented, plain = images.transform(settings.augmentation), images.transform("none")
    shards = None if settings.lr_find else own_shards(settings.shards)
    chance = dict(shuffle=True, seed=settings.seed, transform=augmented)
    return {
        "train": DataLoader(images.train, shards=shards, **chance, **options),
        "val": DataLoader(images.val, transform=plain, **options),
        "test": DataLoader(images.test, transform=plain, **options),
    }


def create_state(settings, images, loader):
    """All that changes while training: network, optimiser, schedule, place in the data, averaged weights."""
    minidl.manual_seed(settings.seed)
    model = create_model(settings, images).to(settings.device)
    training.try_out(model, images)
    training.begin(model, images)  # a layer that whitens is made from training images
    frozen = begin_with_weights(settings, model, images.class_names)
    rates = dict(bias_lr=settings.bias_lr, head_lr=settings.head_lr, bias_decay=settings.bias_decay)
    optimizer = training.create_optimizer(settings.optimizer, model, settings.lr, settings.weight_decay, **rates)
    steps = settings.epochs * len(loader)
    schedule = training.create_schedule(settings.schedule, optimizer, settings.lr, steps, len(loader))
    average = None
    if settings.ema:
        average = optim.ExponentialMovingAverage(model, settings.ema, warm_up=True, use_buffers=True)
    return training.TrainingState(model, optimizer, schedule, loader, average, frozen, settings.validation != "none")


def create_model(settings, images):
    """The network for these images."""
    options = dict(num_classes=len(images.class_names), in_channels=images.channels, width=settings.width)
    if settings.aux_weight and settings.model in ("cnn", "fast"):
        raise ValueError(f"`--aux-weight` {settings.aux_weight}: {settings.model} has no auxiliary heads; accepted: 0")
    if settings.aux_weight:
        options["aux_logits"] = True
    return models.create(settings.model, **options)


def begin_with_weights(settings, model, class_names):
    """Take weights over from elsewhere; the layers that are to keep them."""
    if settings.freeze and not settings.weights:
        raise ValueError(f"`--freeze` is {settings.freeze} without `--weights`: there is nothing to keep")
    if settings.weights and not settings.resume:  # resumed, they are in the checkpoint
        taken = training.load_weights(model, settings.weights, class_names)
        print("\n".join(taken.lines(settings.weights)))
    return training.freeze(model, settings.freeze) if settings.freeze else []


def find_learning_rate(settings, loader, state, name):
    """Raise the learning rate from step to step until the loss runs away."""

    def loss_of(images, labels):
        logits, *_ = training.as_tuple(state.model(images))
        return minidl.cross_entropy(logits, labels, label_smoothing=settings.label_smoothing)

    picture = training.range_test_picture(settings, name)  # a folder that cannot be made is an error now
    training.report_range_test(training.range_test(state.model, state.optimizer, loader, loss_of), name, picture)


def train(settings, loaders, state, run):
    """The lesson: look at a batch, measure how wrong the network is, move every weight a little downhill."""
    model, optimizer, schedule = state.model, state.optimizer, state.schedule
    progress = training.Progress(settings.epochs, len(loaders["train"]), settings.max_steps)

    def learn(images, labels):
        """Loss and logits of a batch; every parameter's .grad says which way the loss rises."""
        logits, *auxiliary = training.as_tuple(model(images))
        loss = minidl.cross_entropy(logits, labels, label_smoothing=settings.label_smoothing)
        for extra in auxiliary:
            loss = loss + settings.aux_weight * minidl.cross_entropy(extra, labels)

        model.zero_grad()
        loss.backward()
        return loss, logits

    learn = training.replayed(learn, settings, state)  # to the same bits, without the Python in it

    for epoch in range(state.epoch, progress.epochs):
        loaders["train"].set_epoch(epoch)  # the order of the images is a function of seed and epoch
        meter = state.begin_epoch(progress.steps(epoch))
        model.train()
        for part in state.frozen:
            part.eval()  # its batch norms keep their statistics

        for batch in progress.track(loaders["train"], meter):
            for images, labels in state.parts(batch):  # all at once; of several processes, each has parts of its own
                loss, logits = learn(images, labels)
                meter.add(loss, logits, labels, schedule.get_last_lr()[0])
            optimizer.step()  # one step the other way

            state.after_step()  # averaged weights, learning rate
            run.after_step(state)  # a checkpoint now and then; Ctrl-C stops here

        with state.averaged():  # inside, the network has the averaged weights, if there are any
            validation = training.evaluate(model, loaders["val"]) if state.choosing else None
            entry = progress.entry(meter, validation)
            best = state.finish_epoch(entry, model.state_dict(), len(loaders["val"].dataset))
        run.save(state, best)
        progress.line(entry, best)


if __name__ == "__main__":
    main()
